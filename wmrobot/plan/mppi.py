"""Model predictive path integral planning."""

from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import MppiConfig
from wmrobot.plan.search import search


def mppi(
    model: LatentModel, z: Tensor, warm_start: Plan, noise: PlanNoise, cfg: MppiConfig
) -> Plan:
    """Plan with softmax-weighted elites; see `search` for shapes."""

    def weigh(returns: Tensor) -> Tensor:
        return (returns * cfg.inverse_temperature).softmax(dim=1)

    return search(model, z, warm_start, noise, cfg, weigh)
