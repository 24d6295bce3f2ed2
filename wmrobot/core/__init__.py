"""Ground floor: types, errors, settings, random streams, files.

Imports nothing of wmrobot above it.
"""
