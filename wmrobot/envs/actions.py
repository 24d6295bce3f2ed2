"""Every task takes actions in [-1, 1]; this scales them to what its actuators take."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import FloatArray

# Arrays: as Python numbers they would cost 0.4 us more of the 0.9 that clipping 8 actions takes.
_LOWEST, _HIGHEST = np.array(-1, dtype=np.float32), np.array(1, dtype=np.float32)
UNBOUNDED = 1e9
"""dm_control says 1e10 for an actuator without a range."""


class ActionScale:
    """Clips to [-1, 1], then maps -1 to the lower bound and 1 to the upper one, linearly.

    Where the bounds are -1 and 1 already, what comes in is what goes out, bit for bit.

    Args:
        name: Task, for messages.
        shape: Shape of the environment's own action.
        low: Lower bounds, broadcast to `shape`.
        high: Upper bounds, broadcast to `shape`.

    Raises:
        TaskError: A bound is missing or infinite, or there is nothing to act with.
    """

    def __init__(
        self, name: str, shape: Sequence[int], low: npt.ArrayLike, high: npt.ArrayLike
    ) -> None:
        self._name = name
        self._shape = tuple(shape)
        lower = np.broadcast_to(np.asarray(low, dtype=np.float64), self._shape).ravel()
        upper = np.broadcast_to(np.asarray(high, dtype=np.float64), self._shape).ravel()
        if lower.size == 0:
            raise TaskError(f"{name}: expected at least one actuator, got none")
        for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
            if not -UNBOUNDED < a < b < UNBOUNDED:
                raise TaskError(
                    f"{name}: expected finite action bounds, low < high, got {a:g}..{b:g} for "
                    f"actuator {i}; give it a range (MJCF: ctrlrange and ctrllimited; Gymnasium: "
                    "a Box with bounds)"
                )
        self._centre = (lower + upper) / 2
        self._half = (upper - lower) / 2
        self._as_given = bool((self._centre == 0).all() and (self._half == 1).all())

    @property
    def dim(self) -> int:
        """Number of actuators."""
        return int(self._centre.size)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What -1 stands for, for each actuator in its own unit, then what 1 does."""
        low, high = self._centre - self._half, self._centre + self._half
        return tuple(low.tolist()), tuple(high.tolist())

    def __call__(self, action: FloatArray) -> npt.NDArray[np.float64]:
        """The environment's own action, a fresh array, for a (A,) action in [-1, 1].

        Raises:
            ObservationError: The action has another shape or is not finite.
        """
        given = np.asarray(action, dtype=np.float64)
        if given.shape != self._centre.shape:
            raise ObservationError(
                f"{self._name}: expected an action of shape {self._centre.shape}, got {given.shape}"
            )
        if not np.isfinite(given).all():
            raise ObservationError(f"{self._name}: expected a finite action, got {given}")
        return self.rows(given).reshape(self._shape)

    def rows(self, actions: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The environment's own actions, flat, for finite (..., A) actions in [-1, 1]."""
        scaled = np.empty(actions.shape)
        self.write(actions, scaled)
        return scaled

    def write(self, actions: npt.NDArray[np.floating], out: npt.NDArray[np.float64]) -> None:
        """Put what `rows` gives into an array of the same shape."""
        out[...] = actions.clip(_LOWEST, _HIGHEST)
        if not self._as_given:
            out *= self._half
            out += self._centre
