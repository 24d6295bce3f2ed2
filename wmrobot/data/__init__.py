"""Replay memory and episodes on disk."""
