"""Layers and distributions that the learned model is made of."""
