"""The windows that `wmrobot view` and `train view=true` open."""
