"""A decision's planning, one stage after another, each timed.

It stands where a compiler would (`core.types.Compiler`): it computes what `control.controller.tick`
does, from the same pieces, and notes what a window wants to know on the way.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from wmrobot.core.types import LatentModel, P, Plan, PlanNoise, R
from wmrobot.plan.config import PlannerConfig
from wmrobot.plan.planner import make_rules
from wmrobot.plan.search import RoundNoise, begin, choose, imagine_prior, refine


class Stages:
    """Times the stages of a planner; a `Compiler` whose result computes the same.

    Args:
        cfg: The planner that is run.
        wait: Waits for the device, so that a stage's time is its own; nothing on a CPU.
    """

    def __init__(self, cfg: PlannerConfig, wait: Callable[[], None] = lambda: None) -> None:
        self._rules = make_rules(cfg)
        self._wait = wait
        self.ms: dict[str, float] = {"encode": 0.0, "prior": 0.0, "search": 0.0}
        self.z: Tensor | None = None
        """(B, Z) what the last decision encoded."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """The timed one, whatever `function` is: it must be the controller's tick."""
        timed: Any = self._tick
        return timed  # type: ignore[no-any-return]

    def _tick(
        self, model: LatentModel, obs: Mapping[str, Tensor], warm_start: Plan, noise: PlanNoise
    ) -> Plan:
        start = time.perf_counter()
        z = model.encode(obs)
        encoded = self._now()
        num_prior = noise.prior.shape[1]
        proposals = imagine_prior(model, z, noise.prior, noise.terminal[:, :num_prior])
        proposed = self._now()
        found = begin(warm_start, self._rules.cfg)
        for i in range(noise.candidates.shape[0]):
            drawn = RoundNoise(noise.candidates[i], noise.terminal[:, num_prior:], noise.heads[i])
            found = refine(model, z, found, proposals, drawn, self._rules)
        plan = choose(found, noise.pick)
        done = self._now()
        self.z = z
        self.ms = {
            "encode": (encoded - start) * 1e3,
            "prior": (proposed - encoded) * 1e3,
            "search": (done - proposed) * 1e3,
        }
        return plan

    def _now(self) -> float:
        self._wait()
        return time.perf_counter()
