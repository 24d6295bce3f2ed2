"""What the learner is fed: B subsequences of H decisions, time first."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from wmrobot.data.memory import send
from wmrobot.data.plans import PlannedAction


class Batch(NamedTuple):
    """Subsequences of one replay, on the learner's device.

    Attributes:
        obs: By modality (H + 1, B, ...); pictures with their frames stacked along C, uint8.
        action: (H, B, A).
        reward: (H, B).
        terminated: (H, B) 1 where the decision ended the episode with nothing after it.
        mask: (H, B) 1 where the decision happened; 0 after an episode's end.
        plan: (H, B, A) what the planner thought best, or None where the replay keeps no plans.
    """

    obs: Mapping[str, Tensor]
    action: Tensor
    reward: Tensor
    terminated: Tensor
    mask: Tensor
    plan: PlannedAction | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; on a GPU the copy may still be under way."""

        def move(value: Tensor) -> Tensor:
            return send(value, device)

        obs = {name: move(value) for name, value in self.obs.items()}
        plan = None if self.plan is None else PlannedAction(*map(move, self.plan))
        return Batch(
            obs,
            move(self.action),
            move(self.reward),
            move(self.terminated),
            move(self.mask),
            plan,
        )
