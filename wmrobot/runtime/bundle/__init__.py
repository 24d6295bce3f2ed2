"""A bundle on disk: read, checked, verified."""
