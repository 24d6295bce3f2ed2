"""The cross-entropy method."""

import torch
from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import CemConfig
from wmrobot.plan.search import search


def cem(model: LatentModel, z: Tensor, warm_start: Plan, noise: PlanNoise, cfg: CemConfig) -> Plan:
    """Plan with equally weighted elites; see `search` for shapes."""
    return search(model, z, warm_start, noise, cfg, torch.ones_like)
