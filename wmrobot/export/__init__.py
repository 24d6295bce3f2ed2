"""From a trained controller to a bundle that `wmrobot.runtime` runs without torch."""
