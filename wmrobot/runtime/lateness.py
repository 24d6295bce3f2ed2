"""How late a loop is, in memory that does not grow; and how late one is that does nothing."""

import math
import time

import numpy as np

SMALLEST_S, BINS_PER_DOUBLING, NUM_BINS = 1e-6, 8, 200
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}


class Lateness:
    """Counts times in bins that are 9% wide, from a microsecond to half a minute."""

    def __init__(self) -> None:
        self._counts = np.zeros(NUM_BINS, dtype=np.int64)
        self._max_s = 0.0

    def add(self, late_s: float) -> None:
        """Count one [s]; a negative one is in time."""
        bin_ = math.log2(max(late_s, SMALLEST_S) / SMALLEST_S) * BINS_PER_DOUBLING
        self._counts[min(int(bin_), NUM_BINS - 1)] += 1
        self._max_s = max(self._max_s, late_s)

    def summary(self) -> dict[str, float]:
        """Count, and p50, p99, p99_9 and max [s]: upper edges of their bins, the maximum exact."""
        total = int(self._counts.sum())
        found: dict[str, float] = {"count": total}
        reached = np.cumsum(self._counts)
        for name, quantile in QUANTILES.items():
            index = int(np.searchsorted(reached, quantile * total)) if total else 0
            edge = SMALLEST_S * 2 ** ((index + 1) / BINS_PER_DOUBLING)
            found[name] = min(edge, self._max_s)
        return found | {"max": self._max_s}


def measure_empty_loop(control_dt: float, duration_s: float) -> Lateness:
    """Lateness of a loop of this rate that does nothing but wake: what this machine can do at all.

    Args:
        control_dt: Time between two ticks [s].
        duration_s: How long to watch [s].
    """
    lateness = Lateness()
    begin = time.monotonic()
    for tick in range(1, int(duration_s / control_dt) + 1):
        due = begin + tick * control_dt
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        lateness.add(-left)
    return lateness
