"""A loss for `obs=rgb`, in training alone: a linear head tells the state from the latent.

Pictures show positions and speeds, but the reward and the latents' own consistency ask for them
late. In simulation the state is known while learning, and a linear head that tells it from the
latent asks at once (Lambrechts, Bolland, Ernst 2024, "Informed POMDP"). The controller has no such
head: it sees pictures alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmrobot.nn.stacked import make_linear

_LEAST_STD = 1e-2  # an entry that stood still when it was looked at may move later


class StateHead(nn.Module):
    """Tells a state (..., O) from a latent (..., Z).

    Args:
        latent_dim: Z.
        state_dim: O.
    """

    def __init__(self, latent_dim: int, state_dim: int) -> None:
        super().__init__()
        self.linear = make_linear(latent_dim, state_dim)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(state_dim))
        self.register_buffer("std", torch.ones(state_dim))

    @torch.no_grad()
    def standardise(self, states: Tensor) -> None:
        """Measure errors from now on in standard deviations of these states (..., O)."""
        rows = states.flatten(0, -2)
        self.mean.copy_(rows.mean(dim=0))
        self.std.copy_(rows.std(dim=0).clamp(min=_LEAST_STD))

    def forward(self, z: Tensor, state: Tensor) -> Tensor:
        """Error (...,): mean over entries of Huber's loss, which a contact's jump does not rule."""
        told, target = self.linear(z), (state - self.mean) / self.std
        return functional.smooth_l1_loss(told, target, reduction="none").mean(dim=-1)
