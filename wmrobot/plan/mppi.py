"""Model predictive path integral planning."""

from torch import Tensor

from wmrobot.plan.config import MppiConfig
from wmrobot.plan.search import Rules


def mppi(cfg: MppiConfig) -> Rules:
    """Softmax-weighted elites."""

    def weigh(returns: Tensor) -> Tensor:
        return (returns * cfg.inverse_temperature).softmax(dim=1)

    return Rules(cfg=cfg, weigh=weigh)
