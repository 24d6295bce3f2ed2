"""The update step: losses and optimisers."""
