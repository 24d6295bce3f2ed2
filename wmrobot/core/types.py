"""The edge between the learned model and the planner. Neither knows the other; both know this.

`core/spec.py` is the legend of the axis letters.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Compiler(Protocol):
    """Makes a function faster; what comes back computes the same."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """The faster function."""
        ...


def leave_as_is(function: Callable[P, R], /) -> Callable[P, R]:
    """The compiler that does nothing."""
    return function


class LatentModel(Protocol):
    """What a planner may ask of a world model. Every method works over any leading axes.

    Where two arguments broadcast, they have as many axes each.
    """

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Latent (..., Z) of observations by modality."""
        ...

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Next latent (..., Z), reward (...,), and continuation (...,); z and action broadcast.

        Continuation is the weight of all that follows: the discount, or 0 where the model expects
        termination.
        """
        ...

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        """Return-to-go (...,), or what broadcasts to that, of z and action, which broadcast.

        It is the mean of the value heads whose indices are in `heads` (K,), or of all.
        """
        ...

    def propose(self, z: Tensor, eps: Tensor) -> Tensor:
        """Action (..., A) in [-1, 1] of the policy prior, for standard normal `eps` (..., A).

        z and eps broadcast.
        """
        ...


class Plan(NamedTuple):
    """What a planner found for B robots, and starts from at the next tick.

    Attributes:
        mean: (B, H, A) mean of the action sequence.
        std: (B, H, A) spread of the action sequence.
        elites: (B, K, H, A) the best candidates, best first.
        valid: (B,) bool; a row that is False starts afresh (after a reset).
        action: (B, A) the action to execute, exploration noise not included.
        value: (B,) estimated return of the elites, weighted as the mean is.
        num_invalid: (B,) candidates of the last iteration that were not finite.
    """

    mean: Tensor
    std: Tensor
    elites: Tensor
    valid: Tensor
    action: Tensor
    value: Tensor
    num_invalid: Tensor


class PlanNoise(NamedTuple):
    """All the randomness of one search, drawn at the border.

    Attributes:
        candidates: (I, B, N - P, H, A) standard normal (coloured along H for iCEM).
        prior: (B, P, H, A) standard normal, for the policy prior's proposals.
        terminal: (B, N, A) standard normal, for the prior's action at the end of each candidate.
        heads: (I, 2) value heads to average in each iteration.
        pick: (B, K) standard Gumbel, chooses the elite to execute.
        execution: (B, A) standard normal, for exploration.
    """

    candidates: Tensor
    prior: Tensor
    terminal: Tensor
    heads: Tensor
    pick: Tensor
    execution: Tensor
