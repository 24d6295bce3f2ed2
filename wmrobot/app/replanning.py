"""Old decisions are planned again by a better model, now and then, for the prior to imitate.

The lazy re-planning of Wang et al. 2025 (Bootstrapped MPC): a few decisions at a time, so that the
cost of an update hardly grows.
"""

from collections.abc import Mapping
from typing import Any

import torch

from wmrobot.app.controllers import Card
from wmrobot.control.controller import make_tick
from wmrobot.core.spec import IntArray
from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.data.batch import Batch
from wmrobot.data.plans import PlannedAction
from wmrobot.data.replay import Replay
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.noise import draw_noise, empty_plan


class Replanner:
    """Keeps the plans of a replay young.

    Args:
        model: World model, as it is now.
        card: What the controller is made for.
        replay: That keeps plans.
        size: Decisions to plan again at a time.
        generator: Random stream, on the model's device.
        compiler: Makes the way from observation to plan faster.
    """

    def __init__(
        self,
        model: WorldModel,
        card: Card,
        replay: Replay,
        size: int,
        generator: torch.Generator,
        compiler: Compiler = leave_as_is,
    ) -> None:
        self._model, self._card, self._replay, self._size = model, card, replay, size
        self._generator = generator
        self._tick = compiler(make_tick(card.planner))

    @torch.no_grad()
    def replan(self, rows: IntArray, columns: IntArray, batch: Batch) -> None:
        """Plan anew what was decided where the first subsequences of a batch begin.

        Args:
            rows: (B,) where the subsequences begin in the replay.
            columns: (B,) and in which of its rings.
            batch: The subsequences, on the model's device.
        """
        size, cfg, action_dim = self._size, self._card.planner, self._card.task.action_dim
        noise = draw_noise(
            cfg,
            batch=size,
            action_dim=action_dim,
            num_q=self._card.model.num_q,
            generator=self._generator,
        )
        start = empty_plan(cfg, batch=size, action_dim=action_dim, device=self._generator.device)
        seen = {name: value[0, :size] for name, value in batch.obs.items()}
        plan = self._tick(self._model, seen, start, noise)
        found = (plan.num_invalid < cfg.num_samples).unsqueeze(1)
        std = plan.std[:, 0].where(found, 0.0)  # nothing finite was imagined: no plan is known
        self._replay.replan(rows[:size], columns[:size], PlannedAction(plan.mean[:, 0], std))

    def state(self) -> dict[str, Any]:
        """Its random stream, and all plans of the replay."""
        assert self._replay.plans is not None
        return {
            "generator": self._generator.get_state().numpy(),
            "plans": self._replay.plans.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; the replay has its rows again."""
        assert self._replay.plans is not None
        self._generator.set_state(torch.from_numpy(state["generator"]))
        self._replay.plans.load_state(state["plans"])
