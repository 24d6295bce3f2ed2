"""What a guard is doing, and the changes of it."""

from enum import Enum
from typing import Any, NamedTuple


class State(Enum):
    """What a guard is doing."""

    HOLD = "hold"
    """Nothing is asked of the robot."""
    READY = "ready"
    """The robot is ready, and waits for its first command."""
    ACTIVE = "active"
    """Plans come in time."""
    DEGRADED = "degraded"
    """The robot moves by an older plan."""
    SAFE_STOP = "safe_stop"
    """Stopped; it takes a reset of the planner to go on."""
    ESTOP = "estop"
    """Stopped; it takes a person to go on."""


MOVING = (State.ACTIVE, State.DEGRADED)


class Transition(NamedTuple):
    """A change of state, for the log."""

    time_ns: int
    before: State
    after: State
    reason: str


def as_document(transition: Transition) -> dict[str, Any]:
    """A transition as a line of the log."""
    return {
        "time_ns": transition.time_ns,
        "from": transition.before.value,
        "to": transition.after.value,
        "reason": transition.reason,
    }
