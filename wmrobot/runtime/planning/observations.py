"""Observations that a planner may be given, checked at every decision."""

from collections.abc import Mapping

import numpy as np

from wmrobot.runtime.arrays import Obs
from wmrobot.runtime.errors import ObservationError


def check_obs(
    obs: Obs,
    shapes: Mapping[str, tuple[int, ...]],
    batch: int | None,
    error: type[Exception] = ObservationError,
) -> int:
    """Refuse observations that the planner was not made for; return B.

    Args:
        obs: By modality.
        shapes: Shape of one observation by modality.
        batch: B that is expected; None for any.
        error: What to raise.

    Raises:
        ObservationError: A modality is missing, or has the wrong shape or dtype, or is not finite.
    """
    if not isinstance(obs, Mapping):
        raise error(f"obs: expected arrays by modality, {sorted(shapes)}, got {type(obs).__name__}")
    if set(obs) != set(shapes):
        raise error(f"obs: expected {sorted(shapes)}, got {sorted(obs)}")
    for name, shape in shapes.items():
        value = obs[name]
        if not isinstance(value, np.ndarray):
            raise error(f"obs.{name}: expected a numpy array, got {type(value).__name__}")
        if value.ndim != len(shape) + 1 or value.shape[1:] != tuple(shape) or not len(value):
            sizes = ", ".join(map(str, ("B" if batch is None else batch, *shape)))
            raise error(f"obs.{name}: expected shape ({sizes}), got {value.shape}")
        expected = np.float32 if name == "state" else np.uint8
        if value.dtype != expected:
            raise error(f"obs.{name}: expected {np.dtype(expected)}, got {value.dtype}")
        if batch not in (None, len(value)):
            raise error(f"obs.{name}: expected {batch} rows, got {len(value)}")
        batch = len(value)
        if name == "state" and not np.isfinite(value).all():
            bad = np.argwhere(~np.isfinite(value))[0].tolist()
            raise error(f"obs.{name}{bad}: expected a finite number, got {value[tuple(bad)]}")
    assert batch is not None, "a planner that sees nothing"
    return batch
