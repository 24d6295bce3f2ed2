"""Tasks x seeds of `train`: their processes, their results, and what was published."""
