"""A decision's planning, one stage after another, each timed.

It stands where a compiler would (`core.types.Compiler`): it computes what `control.controller.tick`
does, from the same pieces, and notes what a window wants to know on the way.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from wmrobot.core.types import Compiler, LatentModel, P, Plan, PlanNoise, R, leave_as_is
from wmrobot.plan.config import PlannerConfig
from wmrobot.plan.planner import make_rules
from wmrobot.plan.search import propose, search_from


class Stages:
    """Times the stages of a planner; a `Compiler` whose result computes the same.

    Args:
        cfg: The planner that is run.
        wait: Waits for the device, so that a stage's time is its own; nothing on a CPU.
        compiler: Makes each stage faster.
    """

    def __init__(
        self,
        cfg: PlannerConfig,
        wait: Callable[[], None] = lambda: None,
        compiler: Compiler = leave_as_is,
    ) -> None:
        self._encode = compiler(_encode)
        rules = make_rules(cfg)
        self._propose = compiler(partial(propose, rules=rules))
        self._search = compiler(partial(search_from, rules=rules))
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
        start = self._now()
        z = self._encode(model, obs)
        encoded = self._now()
        proposals = self._propose(model, z, noise)
        proposed = self._now()
        plan = self._search(model, z, proposals, warm_start, noise)
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


def _encode(model: LatentModel, obs: Mapping[str, Tensor]) -> Tensor:
    return model.encode(obs)
