"""From settings to a planner function."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.cem import cem
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.icem import icem
from wmrobot.plan.mppi import mppi
from wmrobot.plan.search import Rules, search

Planner = Callable[[LatentModel, Tensor, Plan, PlanNoise], Plan]


def make_rules(cfg: PlannerConfig) -> Rules:
    """What the planner that the settings ask for does its own way."""
    match cfg:
        case MppiConfig():
            return mppi(cfg)
        case CemConfig():
            return cem(cfg)
        case IcemConfig():
            return icem(cfg)


def make_planner(cfg: PlannerConfig) -> Planner:
    """The pure function `(model, z, warm_start, noise) -> plan` that the settings ask for."""
    return partial(search, rules=make_rules(cfg))
