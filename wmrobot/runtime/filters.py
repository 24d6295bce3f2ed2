"""Velocity from encoder angles, computed in one way by simulator and driver."""

import math

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


class VelocityFilter:
    """Causal first-order filter, the discrete form of `cutoff * s / (s + cutoff)`.

    The difference of two successive angles passes a low-pass filter of unit gain: a constant
    velocity is told exactly once the start has died out, and one encoder count shows as at most
    `cutoff * count`, however short `dt` is.

    Angles are unwrapped, as encoders count them.
    """

    def __init__(self, *, cutoff: float, dt: float) -> None:
        """Make a filter that waits for its first `reset`.

        Args:
            cutoff: Corner frequency [rad/s], > 0.
            dt: Time between two updates [s], > 0.
        """
        if not (math.isfinite(cutoff) and cutoff > 0 and math.isfinite(dt) and dt > 0):
            raise ValueError(f"expected cutoff > 0 rad/s and dt > 0 s, got {cutoff} and {dt}")
        self._keep = math.exp(-cutoff * dt)
        self._gain = (1.0 - self._keep) / dt
        self._angle: Float64Array = np.zeros(0)
        self._velocity: Float64Array = np.zeros(0)

    @property
    def velocity(self) -> Float64Array:
        """(J,) newest filtered velocities [rad/s]."""
        return self._velocity

    @property
    def state(self) -> Float64Array:
        """(2, J) all that the future depends on: last angles [rad] and velocities [rad/s]."""
        return np.stack([self._angle, self._velocity])

    @state.setter
    def state(self, value: npt.ArrayLike) -> None:
        self._angle, self._velocity = np.array(value, dtype=np.float64)

    def reset(self, angle: npt.ArrayLike) -> None:
        """Start at rest at (J,) angles [rad]."""
        self._angle = np.array(angle, dtype=np.float64)
        self._velocity = np.zeros_like(self._angle)

    def update(self, angle: Float64Array) -> Float64Array:
        """Take (J,) angles [rad], one `dt` after the last ones; returns (J,) velocities [rad/s]."""
        if angle.shape != self._angle.shape:
            raise ValueError(
                f"angle: expected shape {self._angle.shape}, got {angle.shape}; reset() first"
            )
        self._velocity = self._keep * self._velocity + self._gain * (angle - self._angle)
        self._angle = np.array(angle, dtype=np.float64)  # the caller's may change in place
        return self._velocity
