"""Verbs, settings, wiring and reports: the only floor that knows every other."""
