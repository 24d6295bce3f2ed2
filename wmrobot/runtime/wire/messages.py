"""What goes over the wire beside readings and commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wmrobot.runtime.robot import Command, Reading, RobotDescription


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Asks for a session. It is sent again until a `Welcome` or a `Refused` answers it."""

    name: str = "planner"


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """Grants a session.

    Attributes:
        session: Its number, 64 random bits; every later message carries it.
        description: Who grants it; a guard tells the description of its robot.
    """

    session: int
    description: RobotDescription


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Grants none.

    Attributes:
        reason: For people.
    """

    reason: str


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The sender lives, and has no command to send."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Prepare an episode. It is sent again until a reading tells a higher `episode`.

    Attributes:
        episode: Number of the episode that is asked for: the last one told, plus one.
        seed: Of a simulated robot's episode.
    """

    episode: int
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Motors to zero, until a reset.

    Attributes:
        reason: For people.
    """

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class EmergencyStop:
    """Motors to zero, until a person clears it.

    Attributes:
        reason: For people.
    """

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Clear:
    """A person has looked: an emergency stop may end. A reset is needed after it."""


STATUS_NS = 1_000_000_000  # between two of them, where nothing new has to be told


@dataclass(frozen=True, kw_only=True)
class Status:
    """How somebody is doing, for reports.

    Attributes:
        source: `guard` or `robot`.
        values: Counters and words, nested; whatever msgpack can carry.
    """

    source: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bye:
    """Ends the session; a robot that is running stops."""


Message = (
    Hello
    | Welcome
    | Refused
    | Reading
    | Command
    | Heartbeat
    | Reset
    | Stop
    | EmergencyStop
    | Clear
    | Status
    | Bye
)
