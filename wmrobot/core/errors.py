"""Errors that a user can cause and cure. Each becomes one line on stderr and exit code 2.

A message says what was wrong, what was expected, what was got, and the cure or the choices.
"""

import difflib
from collections.abc import Iterable


class WmrobotError(Exception):
    """Root of every error that is the user's to cure."""


class ConfigError(WmrobotError):
    """A setting is unknown, out of range or of the wrong type."""


class TaskError(WmrobotError):
    """A task cannot be found, loaded or built."""


class ObservationError(WmrobotError):
    """An observation or action has the wrong shape or dtype, or is not finite."""


class CheckpointError(WmrobotError):
    """A run, checkpoint or controller is missing, altered, of another task or of a newer schema."""


class DamagedError(CheckpointError):
    """A file of a checkpoint or controller is missing or altered."""


class DataError(WmrobotError):
    """Replay does not fit, or an episode file is malformed."""


class TrainingError(WmrobotError):
    """Training cannot go on: losses or weights are not finite."""


class MissingExtraError(WmrobotError):
    """A package of an optional extra is not installed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for an unknown name: the nearest known one first, then all of them.

    Args:
        kind: What the name should have been, for instance `task`.
        name: What was given.
        known: Every valid name.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"no {kind} named '{name}'.{hint} Known: {', '.join(names)}"
