"""What the learner is fed: B subsequences of H decisions, time first."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Subsequences of one replay, on the learner's device.

    Attributes:
        obs: By modality (H + 1, B, ...); pictures with their frames stacked along C, uint8.
        action: (H, B, A).
        reward: (H, B).
        terminated: (H, B) 1 where the decision ended the episode with nothing after it.
        mask: (H, B) 1 where the decision happened; 0 after an episode's end.
    """

    obs: Mapping[str, Tensor]
    action: Tensor
    reward: Tensor
    terminated: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; on a GPU the copy may still be under way."""
        move = [value.to(device, non_blocking=True) for value in self[1:]]
        obs = {name: value.to(device, non_blocking=True) for name, value in self.obs.items()}
        return Batch(obs, *move)
