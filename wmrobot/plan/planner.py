"""From settings to a planner function."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.cem import cem
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.icem import icem
from wmrobot.plan.mppi import mppi

Planner = Callable[[LatentModel, Tensor, Plan, PlanNoise], Plan]


def make_planner(cfg: PlannerConfig) -> Planner:
    """The pure function `(model, z, warm_start, noise) -> plan` that the settings ask for."""
    match cfg:
        case MppiConfig():
            return partial(mppi, cfg=cfg)
        case CemConfig():
            return partial(cem, cfg=cfg)
        case IcemConfig():
            return partial(icem, cfg=cfg)
