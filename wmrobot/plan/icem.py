"""The improved cross-entropy method: coloured noise, elites that stay."""

import torch

from wmrobot.plan.config import IcemConfig
from wmrobot.plan.search import Rules


def icem(cfg: IcemConfig) -> Rules:
    """Equally weighted elites, some of which compete again.

    The colour of the noise comes with it (`draw_noise`).
    """
    return Rules(cfg=cfg, weigh=torch.ones_like, num_kept=cfg.num_kept)
