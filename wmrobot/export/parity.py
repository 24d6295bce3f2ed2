"""Does the bundle plan what PyTorch plans? Every recorded decision is planned again, twice.

A plan is no continuous function of its inputs: the elites are chosen by comparing returns. Where
two returns are equal but for the rounding of fp32, two correct programs may choose differently, and
the means then differ by more than rounding. Such a decision is told from a wrong one by asking
PyTorch: the answer counts as a tie if PyTorch comes within the bound of it when it chooses
otherwise there. Ties are counted and told; too many are refused. See docs/decisions/0020.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations
from typing import Any

import numpy as np
import torch

from wmrobot.core.errors import WmrobotError
from wmrobot.export.record import EqualInOrder, TorchPlanner
from wmrobot.runtime.planning.golden import Comparison, Golden, Plan, Tick, measure
from wmrobot.runtime.planning.noise import Noise
from wmrobot.runtime.planning.planner import Outputs, Previous

BOUND = 1e-4
"""Largest difference of a plan's mean, in units of the action's range [-1, 1]."""
MOST_TIES = 0.25
"""Share of the decisions that may be ties."""
_ROUNDING = 2.0**-19
"""Relative difference of two returns that rounding explains: fp32 rounds by up to 2^-24 at each of
the hundred operations of a rollout."""
_TRIES = 1024
_MOST_SWAPS = 2  # within one iteration
_LITTLE = 0.05
Swap = tuple[tuple[int, ...], tuple[int, ...]]
"""Places among the elites that are given up, and places beyond them that are taken instead."""


class ParityError(WmrobotError):
    """The exported planner does not plan what PyTorch plans."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the comparison of one path came to.

    Attributes:
        num_vectors: Decisions compared.
        num_ties: Those beyond the bound that PyTorch itself reaches by rounding.
        comparison: Of all decisions.
        tied: (T, B) which ones are ties.
    """

    num_vectors: int
    num_ties: int
    comparison: Comparison
    tied: np.ndarray

    def report(self) -> dict[str, Any]:
        """As JSON; largest differences without ties, and the ties' own."""
        apart = vars(self.comparison)

        def largest(rows: np.ndarray) -> dict[str, float]:
            return {name: float(value[rows].max(initial=0.0)) for name, value in apart.items()}

        return {
            "vectors": self.num_vectors,
            "max_abs_difference": largest(~self.tied),
            "ties": self.num_ties,
            "max_abs_difference_of_ties": largest(self.tied),
        }


def check(name: str, plan: Plan, golden: Golden, torch_planner: TorchPlanner) -> Parity:
    """Plan every decision again and hold the means to the bound.

    Args:
        name: What is checked, for messages.
        plan: What is checked.
        golden: Recorded decisions.
        torch_planner: Who recorded them.

    Raises:
        ParityError: A mean differs by more than the bound and is no tie, or there are too many.
    """
    pairs: list[tuple[Outputs, Outputs]] = []
    tied: list[np.ndarray] = []
    for index, tick in enumerate(golden.ticks()):
        answer = plan(*tick[:3])
        pairs.append((tick.expected, answer))
        apart = np.abs(answer.mean - tick.expected.mean).reshape(len(answer.mean), -1).max(axis=1)
        beyond = ~(apart <= BOUND)  # a NaN is beyond as well
        for row in np.flatnonzero(beyond):
            if not is_tie(torch_planner, tick, answer, int(row)):
                raise ParityError(
                    f"{name}: expected the plan's mean within {BOUND:g} of PyTorch's, got "
                    f"{apart[row]:.3g} at decision {index}, robot {row}, whose return is "
                    f"{tick.expected.value[row]:.4g}; nothing was exported. Returns of many "
                    "hundreds are too coarse for fp32: scale the reward down; else please report it"
                )
        tied.append(beyond)
    parity = Parity(
        num_vectors=sum(map(len, tied)),
        num_ties=int(np.sum(tied)),
        comparison=measure(pairs),
        tied=np.stack(tied),
    )
    if parity.num_ties > max(1, MOST_TIES * parity.num_vectors):
        raise ParityError(
            f"{name}: expected at most {MOST_TIES:.0%} of the plans to hang on a tie, got "
            f"{parity.num_ties} of {parity.num_vectors}; nothing was exported: the model tells "
            "its candidates apart too little, train it longer"
        )
    return parity


def is_tie(planner: TorchPlanner, tick: Tick, answer: Outputs, row: int) -> bool:
    """Whether PyTorch comes to an answer when it decides otherwise between equal candidates.

    Ways are tried in which candidates of an iteration give their places among the elites to others
    whose returns are the same but for rounding; those first that need the least of it.
    """
    if not np.isfinite(answer.mean[row]).all():
        return False
    rows = slice(row, row + 1)
    z = planner.encode({name: value[rows] for name, value in tick.obs.items()})
    mean, valid, elites = tick.previous
    previous = Previous(mean[rows], valid[rows], elites[rows])
    noise = Noise(
        candidates=tick.noise.candidates[:, rows],
        prior=tick.noise.prior[rows],
        terminal=tick.noise.terminal[rows],
        heads=tick.noise.heads,
    )
    waiting: list[tuple[float, int, tuple[Swap | None, ...]]] = [(0.0, 0, ())]
    count = 0  # tells apart what needs equal rounding
    for _ in range(_TRIES):
        if not waiting:
            return False
        needed, _, swaps = heappop(waiting)
        order = Swapped(swaps)
        found = planner.plan(z, noise, previous, order)
        if np.abs(found.mean[0] - answer.mean[row]).max() <= BOUND:
            return True
        for later, options in enumerate(order.options):
            for more, swap in options:
                count += 1
                way = (*swaps, *[None] * later, swap)
                heappush(waiting, (needed + more, count, way))
    return False


class Swapped(EqualInOrder):
    """Makes given candidates change places, and notes which others might.

    Args:
        swaps: For each of the first iterations, the places that change; None leaves all.
    """

    def __init__(self, swaps: Sequence[Swap | None]) -> None:
        super().__init__()
        self._swaps = list(swaps)
        self.options: list[list[tuple[float, Swap]]] = []
        """For each iteration after those, what `_swaps` gives."""

    def reorder(
        self, values: torch.Tensor, indices: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `EqualInOrder`; for one row."""
        if self._swaps:
            swap = self._swaps.pop(0)
            if swap is None:
                return values, indices
            places = torch.arange(values.shape[1])
            (out, into) = map(list, swap)
            places[out], places[into] = places[into], places[out]
            return values[:, places], indices[:, places]
        row = values[0].tolist()
        self.options.append(list(_swaps(row, count)))
        return values, indices


def _swaps(row: Sequence[float], count: int) -> Iterator[tuple[float, Swap]]:
    """Every swap that only rounding decides about, of returns in falling order.

    With each comes the rounding it needs, in units of what there is; a swap for nothing costs a
    little, so that few are tried before many.
    """
    if count == len(row):
        return
    room = _ROUNDING * max(abs(row[count - 1]), 1.0)
    within = [i for i in reversed(range(count)) if row[i] - row[count] <= room]
    beyond = [j for j in range(count, len(row)) if row[count - 1] - row[j] <= room]
    for number in range(1, _MOST_SWAPS + 1):
        for out in combinations(within, number):
            for into in combinations(beyond, number):
                if row[min(out)] - row[max(into)] <= room:
                    gap = sum(row[i] for i in out) - sum(row[j] for j in into)
                    yield gap / room + _LITTLE * number, (out, into)
