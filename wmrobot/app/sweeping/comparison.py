"""How the seeds of a task stand beside what was published."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmrobot.app.sweeping.anchors import Published
from wmrobot.app.training.result import Result

SHARE = 0.95
"""Of the published mean: what counts as having reached it."""
RESAMPLES, LEVEL = 10_000, 0.95


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One task of a sweep.

    Attributes:
        steps: (N,) evaluations that every finished seed has [environment steps].
        returns: (S, N) of the finished seeds.
        mean: (N,) over seeds.
        interval: (2, N) of that mean: bootstrap over seeds, 95%; NaN for a single seed.
        minutes: (N,) training until then, mean over seeds [min]; NaN where not told.
        reference_step: Published step that is compared with; None without anchors.
        reference: TD-MPC2's mean there.
        reached: Index of the first evaluation whose mean is at least 95% of `reference`.
    """

    steps: np.ndarray
    returns: np.ndarray
    mean: np.ndarray
    interval: np.ndarray
    minutes: np.ndarray
    reference_step: int | None
    reference: float | None
    reached: int | None

    @property
    def percent(self) -> float | None:
        """Our mean at the last step, in percent of the reference."""
        if not self.reference or not len(self.mean):
            return None
        return 100 * float(self.mean[-1]) / self.reference


def compare(results: Sequence[Result], published: Published | None) -> Standing | None:
    """Where the finished runs of one task stand; None before the first has finished.

    A seed that failed has no return at the last step: it is left out here, and shown as failed.

    Args:
        results: All runs of the task.
        published: TD-MPC2's curves; the first step at or after our last one is compared with.
    """
    done = [result for result in results if result.finished and len(result.steps)]
    if not done:
        return None
    common = set.intersection(*(set(result.steps.tolist()) for result in done))
    if not common:
        return None
    steps = np.array(sorted(common))
    where = [np.isin(result.steps, steps) for result in done]
    returns = np.stack([r.rewards[kept] for r, kept in zip(done, where, strict=True)])
    seconds = np.stack([r.wall_clock_s[kept] for r, kept in zip(done, where, strict=True)])
    mean = returns.mean(axis=0)
    step, reference = (None, None) if published is None else published.mean_at(steps[-1])
    above = np.flatnonzero(mean >= SHARE * reference) if reference is not None else np.zeros(0)
    return Standing(
        steps=steps,
        returns=returns,
        mean=mean,
        interval=bootstrap_interval(returns),
        minutes=seconds.mean(axis=0) / 60,
        reference_step=step,
        reference=reference,
        reached=int(above[0]) if len(above) else None,
    )


def bootstrap_interval(values: np.ndarray) -> np.ndarray:
    """95% interval (2, N) of the mean of S seeds (S, N): percentiles of resampled means.

    The same values give the same interval. With few seeds it is too narrow: it cannot leave the
    range of the seeds themselves. A single seed has none.
    """
    num_seeds = len(values)
    if num_seeds < 2:
        return np.full((2, values.shape[1]), np.nan)
    drawn = np.random.default_rng(0).integers(num_seeds, size=(RESAMPLES, num_seeds))
    means = values[drawn].mean(axis=1)
    edges: np.ndarray = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return edges
