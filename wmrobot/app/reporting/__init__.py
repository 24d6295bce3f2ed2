"""What a page tells of a run: diagnostics, curves, HTML."""
