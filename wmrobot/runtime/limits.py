"""What a robot may be asked for, and at what readings it is stopped.

A file of limits is JSON. All of it is optional, and what it does not name is not limited beyond
[-1, 1]:

    {
      "action": {"motor": [-0.8, 0.8]},
      "slew_per_s": {"motor": 40.0},
      "effort": {"motor": 0.7},
      "effort_window_s": 2.0,
      "low_pass_hz": 20.0,
      "position": {"arm_angle": [-1.9, 1.9]},
      "velocity": {"arm_velocity_10rad_per_s": [-3.0, 3.0]}
    }

Actions are in [-1, 1], sensor terms in their own units.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.bundle.fields import Fields, parse_json
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import RobotDescription

Vector = npt.NDArray[np.float64]
Interval = tuple[float, float]
LARGEST_FILE = 2**20  # [bytes]
TOUCH = 1e-6
"""What a limit changes by less than this is no intervention but rounding."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits by name; the defaults do nothing.

    Attributes:
        action: Lowest and highest action of an actuator.
        slew_per_s: Fastest change of its action [1/s].
        effort: Largest root mean square of its action over `effort_window_s`.
        effort_window_s: Time constant of that mean [s].
        low_pass_hz: Corner frequency of a first-order filter over all actions; None for none.
        position: Range of a sensor term, outside of which the robot is stopped.
        velocity: The same; a second table only for its reader.
    """

    action: Mapping[str, Interval] = field(default_factory=dict)
    slew_per_s: Mapping[str, float] = field(default_factory=dict)
    effort: Mapping[str, float] = field(default_factory=dict)
    effort_window_s: float = 1.0
    low_pass_hz: float | None = None
    position: Mapping[str, Interval] = field(default_factory=dict)
    velocity: Mapping[str, Interval] = field(default_factory=dict)


def read_limits(path: str | Path) -> Limits:
    """Read a file of limits.

    Raises:
        RobotError: It is missing, no JSON, or holds something else than limits.
    """
    where = Path(path)
    try:
        with where.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise RobotError(f"{where}: expected a file of limits ({error.strerror})") from None
    root = Fields(parse_json(data, where.name), where.name)
    known = Limits.__dataclass_fields__
    for key in root.value:
        if key not in known:
            raise RobotError(f"{where}: no limit named '{key}'. Known: {', '.join(known)}")
    return Limits(
        action=_intervals(root, "action"),
        slew_per_s=_positives(root, "slew_per_s"),
        effort=_positives(root, "effort"),
        effort_window_s=root.positive("effort_window_s") if root.has("effort_window_s") else 1.0,
        low_pass_hz=root.positive("low_pass_hz") if root.has("low_pass_hz") else None,
        position=_intervals(root, "position"),
        velocity=_intervals(root, "velocity"),
    )


class _Past(NamedTuple):
    """What a limit looks back on: when an action took effect, which one, and the mean square."""

    when_ns: int
    action: Vector
    square: Vector


class Limiter:
    """Applies limits to one robot.

    Args:
        limits: What to apply.
        description: Whose actuators and sensors they name.

    Raises:
        RobotError: They name one that the robot does not have, or actions outside [-1, 1].
    """

    def __init__(self, limits: Limits, description: RobotDescription) -> None:
        actuators, sensors = description.actuators, description.sensors
        _check_names("action", limits.action, actuators)
        _check_names("slew_per_s", limits.slew_per_s, actuators)
        _check_names("effort", limits.effort, actuators)
        _check_names("position", limits.position, sensors)
        _check_names("velocity", limits.velocity, sensors)
        for name, (low, high) in limits.action.items():
            if not -1.0 <= low <= 0.0 <= high <= 1.0:
                raise RobotError(
                    f"action.{name}: expected -1 <= low <= 0 <= high <= 1, as a robot at rest is "
                    f"at 0, got [{low:g}, {high:g}]"
                )
        bounds = [limits.action.get(name, (-1.0, 1.0)) for name in actuators]
        self._low, self._high = np.array(bounds).T
        self._slew = np.array([limits.slew_per_s.get(n, math.inf) for n in actuators])
        self._effort = np.array([limits.effort.get(name, math.inf) for name in actuators])
        self._window = limits.effort_window_s
        self._corner = None if limits.low_pass_hz is None else 2 * math.pi * limits.low_pass_hz
        self._ranges = [
            (sensors.index(name), name, interval)
            for name, interval in [*limits.position.items(), *limits.velocity.items()]
        ]
        self._dt = description.control_dt
        self.interventions: Counter[str] = Counter()
        rest = np.zeros(len(actuators))
        self._after = self._before = _Past(0, rest, rest)

    def reset(self) -> None:
        """The robot is at rest. What has heated a motor is not forgotten."""
        rest = np.zeros_like(self._after.action)
        self._after = self._before = _Past(0, rest, self._after.square)

    def limit(self, action: FloatArray, when_ns: int, arrives_ns: int = 0) -> FloatArray:
        """An action within all limits.

        Args:
            action: (A,), finite.
            when_ns: When it is to take effect; one for the same time as the last one replaces that.
            arrives_ns: When it will be with the robot; what has taken effect by then stays.
        """
        assert np.isfinite(action).all(), "NaN would pass a clip: refuse it earlier"
        replaces = when_ns <= self._after.when_ns and arrives_ns < self._after.when_ns
        past = self._before if replaces else self._after
        when_ns = max(when_ns, arrives_ns)
        # A late action may not change more than one that is in time: the motor sees it as a jump.
        elapsed = min(max((when_ns - past.when_ns) * 1e-9, 1e-4), self._dt)
        wanted = action.astype(np.float64)
        if self._corner is not None:
            keep = math.exp(-self._corner * elapsed)
            wanted = keep * past.action + (1.0 - keep) * wanted  # as asked for: no intervention
        wanted = self._within("action", wanted, self._low, self._high)
        step = self._slew * elapsed
        wanted = self._within("slew", wanted, past.action - step, past.action + step)
        keep = math.exp(-elapsed / self._window)
        # as much as leaves the mean square at its limit after this action
        room = np.maximum(self._effort**2 - keep * past.square, 0.0) / (1.0 - keep)
        wanted = self._within("effort", wanted, -np.sqrt(room), np.sqrt(room))
        self._before = past
        self._after = _Past(when_ns, wanted, keep * past.square + (1.0 - keep) * wanted**2)
        return wanted.astype(np.float32)

    def breach(self, sensors: FloatArray) -> str | None:
        """Name of a sensor term (R,) that is not within its range; None if all is well."""
        for index, name, (low, high) in self._ranges:
            if not low <= sensors[index] <= high:  # also where it is NaN
                return name
        return None

    def _within(self, what: str, wanted: Vector, low: Vector, high: Vector) -> Vector:
        limited: Vector = np.minimum(np.maximum(wanted, low), high)
        if (np.abs(limited - wanted) > TOUCH).any():
            self.interventions[what] += 1
        return limited


def _intervals(root: Fields, key: str) -> dict[str, Interval]:
    if not root.has(key):
        return {}
    group = root.group(key)
    return {name: group.interval(name) for name in group.value}


def _positives(root: Fields, key: str) -> dict[str, float]:
    if not root.has(key):
        return {}
    group = root.group(key)
    return {name: group.positive(name) for name in group.value}


def _check_names(what: str, named: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in named:
        if name not in known:
            raise RobotError(f"{what}: no '{name}' on this robot. Known: {', '.join(known)}")
