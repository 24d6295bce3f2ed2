"""Old decisions are planned again by a better model, now and then, for the prior to imitate.

The lazy re-planning of Wang et al. 2025 (Bootstrapped MPC): a few decisions at a time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from wmrobot.control.controller import Controller
from wmrobot.core.spec import IntArray
from wmrobot.data.batch import Batch
from wmrobot.data.memory import send
from wmrobot.data.plans import PlannedAction
from wmrobot.data.replay import Replay


class Replanner:
    """Keeps the plans of a replay young.

    Args:
        controller: Plans with the model as it is now; nobody else's.
        replay: That keeps plans.
        size: Decisions to plan again at a time.
    """

    def __init__(self, controller: Controller, replay: Replay, size: int) -> None:
        self._controller, self._replay, self._size = controller, replay, size

    def replan(self, rows: IntArray, columns: IntArray, batch: Batch) -> None:
        """Plan anew what was decided where the first subsequences of a batch begin.

        Args:
            rows: (B,) where the subsequences begin in the replay.
            columns: (B,) and in which of its rings.
            batch: The subsequences, on the model's device.
        """
        size = self._size
        plan = self._controller.plan_afresh({k: v[0, :size] for k, v in batch.obs.items()})
        found = (plan.num_invalid < self._controller.cfg.num_samples).unsqueeze(1)
        std = plan.std[:, 0].where(found, 0.0)  # nothing finite was imagined: no plan is known
        # of subsequences that were drawn twice, the first: a GPU writes them in no certain order
        _, once = np.unique(np.stack([rows[:size], columns[:size]]), axis=1, return_index=True)
        kept = send(torch.from_numpy(once), std.device)
        planned = PlannedAction(plan.mean[:, 0][kept], std[kept])
        self._replay.replan(rows[:size][once], columns[:size][once], planned)

    def state(self) -> dict[str, Any]:
        """Its random stream, and all plans of the replay."""
        assert self._replay.plans is not None
        return {
            "generator": self._controller.generator.get_state().numpy(),
            "plans": self._replay.plans.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; the replay has its rows again."""
        assert self._replay.plans is not None
        self._controller.generator.set_state(torch.from_numpy(state["generator"]))
        self._replay.plans.load_state(state["plans"])
