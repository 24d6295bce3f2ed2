"""Rollouts and drives that were recorded, and how they are played again."""
