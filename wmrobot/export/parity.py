"""Does the bundle plan what PyTorch plans? Every recorded decision is planned again, twice.

A plan is no continuous function of its inputs. Which candidates are elites, and whether the model
expects termination, are decided by comparison; where two returns are equal to the last bit of fp32,
two correct programs may decide differently, and the means then differ by more than rounding. Such a
decision is told from a wrong one by asking PyTorch itself: the answer counts as a tie if PyTorch
comes within the bound of it when its inputs move by less than they are rounded by. Ties are counted
and told; too many are refused. See docs/decisions/0020.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from wmrobot.core.errors import WmrobotError
from wmrobot.export.record import TorchPlanner
from wmrobot.runtime.golden import Comparison, Golden, Plan, Tick, measure
from wmrobot.runtime.noise import Noise
from wmrobot.runtime.planner import Outputs, Previous

BOUND = 1e-4
"""Largest difference of a plan's mean, in units of the action's range [-1, 1]."""
MOST_TIES = 0.05
"""Share of the decisions that may be ties."""
_MOVES = (2.0**-21, 2.0**-20, 2.0**-19, 2.0**-18)
"""Relative. fp32 rounds by up to 2^-24 at each of the hundred operations of a rollout."""
_COPIES, _ROUNDS = 16, 8


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
                    f"{apart[row]:.3g} at decision {index}, robot {row}; nothing was exported: "
                    "this is a fault of the export or of onnxruntime, please report it"
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
    """Whether PyTorch comes within the bound of an answer when its inputs move by rounding."""
    if not np.isfinite(answer.mean[row]).all():
        return False
    generator = torch.Generator().manual_seed(row)
    z = planner.encode({name: value[row : row + 1] for name, value in tick.obs.items()})
    previous = Previous(*(_repeat(value[row], 0) for value in tick.previous))
    for move in (move for move in _MOVES for _ in range(_ROUNDS)):

        def moved(value: torch.Tensor, by: float = move) -> torch.Tensor:
            return value * (1 + by * torch.randn(value.shape, generator=generator))

        noise = Noise(
            candidates=moved(_copies(tick.noise.candidates[:, row], 1)).numpy(),
            prior=moved(_copies(tick.noise.prior[row], 0)).numpy(),
            terminal=moved(_copies(tick.noise.terminal[row], 0)).numpy(),
            heads=tick.noise.heads,
        )
        mean = planner.plan(moved(z.expand(_COPIES, -1)), noise, previous).mean
        apart = np.abs(mean - answer.mean[row]).reshape(_COPIES, -1).max(axis=1)
        if (apart <= BOUND).any():
            return True
    return False


def _repeat(value: np.ndarray, axis: int) -> np.ndarray:
    return np.repeat(np.expand_dims(value, axis), _COPIES, axis=axis)


def _copies(value: np.ndarray, axis: int) -> torch.Tensor:
    return torch.from_numpy(_repeat(value, axis))
