"""The cross-entropy method."""

import torch

from wmrobot.plan.config import CemConfig
from wmrobot.plan.search import Rules


def cem(cfg: CemConfig) -> Rules:
    """Equally weighted elites."""
    return Rules(cfg=cfg, weigh=torch.ones_like)
