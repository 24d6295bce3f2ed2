"""How far each row is from where it should be, as dm_control rewards it, to the last bit.

Where dm_control squares a number alone, it calls the C library's `pow`, which rounds about one
square in a thousand otherwise than the product of a number with itself; where it squares an array,
it multiplies. So there are two ways to square here as well.
"""

import math
from functools import lru_cache
from itertools import repeat

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@lru_cache
def _constant(value: float) -> Floats:
    """A number as NumPy likes it: a Python number costs a call 0.2 us of the 0.5 for 8 rows."""
    return np.array(value)


_ZERO, _ONE = _constant(0.0), _constant(1.0)


def within(x: Floats, low: float, high: float) -> Floats:
    """1 where `low <= x <= high`, else 0."""
    return ((low <= x) & (x <= high)).astype(np.float64)


def ramp(x: Floats, low: float, margin: float, at_margin: float) -> Floats:
    """1 from `low` on; falls linearly below, to `at_margin` at `low - margin` and on to 0."""
    away = np.subtract(_constant(low), x)
    np.divide(away, _constant(margin), out=away)
    if at_margin:
        away *= 1 - at_margin
    np.maximum(away, _ZERO, out=away)
    np.minimum(away, _ONE, out=away)
    return np.subtract(_ONE, away, out=away)


def bell(x: Floats, low: float, high: float, margin: float, *, alone: bool = True) -> Floats:
    """1 between the bounds; a Gaussian beyond, which is 0.1 at a distance of `margin`.

    Args:
        x: Any shape.
        low: Lower bound.
        high: Upper bound.
        margin: Where it is 0.1, in x's unit.
        alone: Whether dm_control has one number a row here, or an array.
    """
    scale = np.sqrt(-2 * np.log(0.1))
    scaled = _distance(x, low, high) / margin * scale
    value = np.exp(-0.5 * (squares(scaled) if alone else scaled * scaled))
    return np.where((low <= x) & (x <= high), 1.0, value)


def long_tail(x: Floats, high: float, margin: float) -> Floats:
    """1 for `0 <= x <= high`; beyond, 0.1 at a distance of `margin`, with a long tail."""
    scale = np.sqrt(1 / 0.1 - 1)
    value = 1 / (squares(_distance(x, 0.0, high) / margin * scale) + 1)
    return np.where((x >= 0) & (x <= high), 1.0, value)


def small_control(ctrl: Floats) -> Floats:
    """(..., A) actuation, each in [-1, 1] -> (...): 1 without any, 0.8 for all that there is."""
    value: Floats = (np.maximum(1 - ctrl * ctrl, 0.0).mean(axis=-1) + 4) / 5
    return value


def squares(x: Floats) -> Floats:
    """Squares, of any shape, each as the C library's `pow` has it."""
    powers = map(math.pow, x.ravel().tolist(), repeat(2.0))
    return np.fromiter(powers, np.float64, x.size).reshape(x.shape)


def norms(vectors: Floats) -> Floats:
    """(..., n) -> (...) Euclidean lengths, summed by the same routine as `np.linalg.norm` uses."""
    lengths: Floats = np.sqrt(np.vecdot(vectors, vectors))
    return lengths


def turned(vectors: Floats, frames: Floats) -> Floats:
    """Vectors in coordinates of a body.

    Args:
        vectors: (..., n, 3), each turned by a product of its own; the order of sums matters.
        frames: (..., 9) orientations of the bodies.

    Returns:
        (..., n, 3).
    """
    matrices = frames.reshape(*frames.shape[:-1], 1, 3, 3)
    turned: Floats = np.matmul(vectors[..., None, :], matrices)[..., 0, :]
    return turned


def _distance(x: Floats, low: float, high: float) -> Floats:
    return np.where(x < low, low - x, x - high)
