"""The learned world model."""
