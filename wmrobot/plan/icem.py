"""The improved cross-entropy method: coloured noise, elites that stay."""

import torch
from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import IcemConfig
from wmrobot.plan.search import search


def icem(
    model: LatentModel, z: Tensor, warm_start: Plan, noise: PlanNoise, cfg: IcemConfig
) -> Plan:
    """Plan with equally weighted elites, some of which compete again; see `search` for shapes.

    The colour of the noise comes with it (`draw_noise`).
    """
    return search(model, z, warm_start, noise, cfg, torch.ones_like, num_kept=cfg.num_kept)
