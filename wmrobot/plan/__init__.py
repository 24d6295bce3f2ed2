"""Sampling planners: pure functions from (model, latent, plan, noise) to a plan."""
