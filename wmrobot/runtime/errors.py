"""Errors of the runtime that its user can cure. Each is one line.

A message says what was wrong, what was expected, what was got, and the cure or the choices.
"""


class RobotError(Exception):
    """Root of every error of the runtime that is the user's to cure."""


class BundleError(RobotError):
    """A bundle is missing, altered, inconsistent, of a newer schema, or made for another robot."""


class ObservationError(RobotError):
    """An observation has the wrong shape or dtype, or is not finite, or leads to no plan."""
