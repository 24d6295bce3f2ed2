"""What a robot is to the planner, and what the two tell each other.

A robot ticks once every `control_dt`, by its own clock. At each tick it tells a `Reading`; a
`Command` says what its motors shall do from when on, in that same clock. Whoever serves a robot
(`wmrobot.runtime.server`) does the ticking, the waiting and the stopping: a robot class reads
sensors, sets motors, and no more. Axis letters: R sensors, A actuators, H decisions of a plan,
P entries of a pose.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wmrobot.runtime.arrays import FloatArray


class Rung(IntEnum):
    """Where a command comes from, best first."""

    FRESH = 0
    """First action of a plan that was made in time."""
    SHIFTED = 1
    """A later action of a plan that was made earlier."""
    PRIOR = 2
    """The policy prior, without a search."""
    HOLD = 3
    """The last action once more."""
    STOP = 4
    """No command: the motors are at zero."""


class Phase(IntEnum):
    """What a robot is doing."""

    IDLE = 0
    """Nobody has asked it for anything."""
    READY = 1
    """Reset, at rest; it starts with the first command that takes effect."""
    RUNNING = 2
    """It follows commands."""
    ENDED = 3
    """The episode is over, the motors are at zero; a reset starts the next one."""
    STOPPED = 4
    """Stopped for safety, the motors are at zero; it stays so until a reset."""


@dataclass(frozen=True, kw_only=True)
class RobotDescription:
    """What a robot says of itself when it is greeted.

    Attributes:
        name: Which robot, or which task of a simulated one.
        sensors: R names of what it measures, in the order in which readings tell them.
        joints: Names of its joints, in the order of its driver.
        actuators: A names of what it sets, in the order of an action.
        control_dt: Time between two ticks [s].
        lockstep: Whether it waits for each command instead of keeping time.
        mjcf_sha256: Of a simulated robot's compiled model.
        pose_dim: P, entries of the pose that readings tell; 0 for a robot that tells none.
    """

    name: str
    sensors: tuple[str, ...]
    joints: tuple[str, ...]
    actuators: tuple[str, ...]
    control_dt: float
    lockstep: bool = False
    mjcf_sha256: str | None = None
    pose_dim: int = 0


class Outcome(NamedTuple):
    """How the last decision went. Hardware that cannot tell leaves it as it is.

    Attributes:
        reward: Of the decision that ended with this reading.
        terminated: Whether the episode ended because of what happened.
        truncated: Whether it ended because its time was over.
        success: Whether the task calls the episode so far a success.
    """

    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False


NO_OUTCOME = Outcome()


def no_pose() -> FloatArray:
    """(0,): what is told where there is no pose to tell."""
    return np.zeros(0, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a robot tells at a tick.

    Attributes:
        sequence: Number of the tick; rises by one, also over resets.
        time_ns: When it was measured, by the robot's clock [ns].
        sensors: (R,) measurements in the order of the description.
        command: (A,) what the motors are doing now, in [-1, 1].
        applied: `sequence` of the command that this comes from, 0 for none.
        received: `sequence` of the newest command that has arrived, 0 for none.
        received_ns: When that one arrived, by the robot's clock [ns].
        phase: What the robot is doing.
        episode: Number of resets so far.
        decision: Ticks of this episode since it started.
        ticks: (5,) running ticks of this session by `Rung` of the command in effect.
        outcome: How the decision that ends now went.
        pose: (P,) joint positions in the order of the MJCF's `qpos` [rad, m, quaternions], to be
            drawn and recorded; (0,) where they are not told. Nothing is ever planned from it.
    """

    sequence: int
    time_ns: int
    sensors: FloatArray
    command: FloatArray
    applied: int = 0
    received: int = 0
    received_ns: int = 0
    phase: Phase = Phase.IDLE
    episode: int = 0
    decision: int = 0
    ticks: tuple[int, ...] = (0, 0, 0, 0, 0)
    outcome: Outcome = NO_OUTCOME
    pose: FloatArray = field(default_factory=no_pose)

    @property
    def misses(self) -> int:
        """Ticks of this session at which no fresh plan was in effect."""
        return sum(self.ticks) - self.ticks[Rung.FRESH]


@dataclass(frozen=True, kw_only=True, eq=False)
class Command:
    """A plan, as far as it may be executed.

    Attributes:
        sequence: Number of the plan, from 1; rises with every plan.
        made_from: `sequence` of the reading that it was made from.
        when_ns: When the first action takes effect, by the robot's clock [ns]. Each of the
            following ones does so one `control_dt` later. A time that has passed means at once.
        actions: (H, A) in [-1, 1], for consecutive decisions, at least one.
        rung: What the first action is; the following ones are `SHIFTED` where that is `FRESH`.
    """

    sequence: int
    made_from: int
    when_ns: int
    actions: FloatArray
    rung: Rung = Rung.FRESH


class Robot(ABC):
    """A robot that `serve` can run.

        class Pendulum(Robot):
            joints, sensors, actuators = ("hinge",), ("angle", "velocity"), ("motor",)
            control_dt = 0.02

            def read(self):
                return [driver.angle(), driver.velocity()]

            def apply(self, action, when_ns):
                driver.set_voltage(6.0 * action[0])

            def stop(self):
                driver.set_voltage(0.0)

    Attributes:
        name: Which robot.
        joints: Names of its joints, in the order of its driver.
        sensors: R names of what it measures.
        actuators: A names of what it sets.
        control_dt: Time between two ticks [s].
        mjcf_sha256: Of a simulated robot's compiled model.
        pose_dim: P, entries of its pose; 0 for a robot that tells none.
    """

    name: str = "robot"
    mjcf_sha256: str | None = None
    pose_dim: int = 0
    joints: Sequence[str]
    sensors: Sequence[str]
    actuators: Sequence[str]
    control_dt: float

    @abstractmethod
    def read(self) -> npt.ArrayLike:
        """Measure now: (R,) finite numbers in the order of `sensors`. Called at every tick."""

    def pose(self) -> npt.ArrayLike:
        """Where its joints were at the last `read`: (P,) in the order of the MJCF's `qpos`.

        For eyes and recordings alone: what is not finite, or of another size, is left out.
        """
        return ()

    @abstractmethod
    def apply(self, action: FloatArray, when_ns: int) -> None:
        """Set the motors.

        Args:
            action: (A,) in [-1, 1], finite.
            when_ns: When this takes effect, by `time.monotonic_ns` [ns]: the command's time, or
                that of its arrival where it came late. It is called then, or as soon after it as
                the system wakes up.
        """

    @abstractmethod
    def stop(self) -> None:
        """Bring the motors to zero. Called also when nothing else works: keep it simple."""

    def reset(self, seed: int | None) -> None:
        """Prepare an episode, motors at zero; may take up to a minute. `seed` is for simulations.

        Until it returns nothing else is heard, a stop neither: look after what moves here.
        """
        del seed

    def tick(self, due_ns: int) -> None:
        """Called at every tick, before `read`; for robots that want to know the time.

        Args:
            due_ns: When the tick was due, by `time.monotonic_ns` [ns].
        """
        del due_ns

    def outcome(self) -> Outcome:
        """How the decision went that ended with the last `read`."""
        return NO_OUTCOME

    def status(self) -> Mapping[str, Any]:
        """What else to tell in reports."""
        return {}


def as_vector(values: npt.ArrayLike, size: int, what: str) -> FloatArray:
    """A fresh (size,) float32 array, all finite.

    Raises:
        ValueError: It has another shape, or is not finite.
    """
    vector = np.array(values, dtype=np.float32)
    if vector.shape != (size,):
        raise ValueError(f"{what}: expected shape ({size},), got {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{what}: expected finite numbers, got {vector.tolist()}")
    return vector
