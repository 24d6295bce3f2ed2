"""A training run: its settings, its parts, its loop, and what it leaves on disk."""
