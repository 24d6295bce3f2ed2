"""The planner cut into functions of tensors, each of which becomes one graph.

They are made of `plan/search.py` and the model as it is. Inputs and outputs follow
`runtime/bundle/signatures.py`, in order.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from wmrobot.core.types import Plan
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.search import (
    Imagined,
    RoundNoise,
    Rules,
    Search,
    begin,
    choose,
    imagine_prior,
    refine,
)
from wmrobot.runtime.bundle.signatures import BEGIN, CHOOSE, ENCODE, POLICY, PROPOSE, SEARCH, STEP

Outputs = tuple[Tensor, ...]


class Stage(nn.Module):
    """One function of tensors that uses the model's weights.

    Args:
        model: Its weights become the graph's.
        function: Of tensors alone.
    """

    def __init__(self, model: WorldModel, function: Callable[..., Outputs]) -> None:
        super().__init__()
        self.model = model
        self._function = function

    def forward(self, *inputs: Tensor) -> Outputs:
        """The function."""
        return self._function(*inputs)


def make_stages(model: WorldModel, rules: Rules) -> Mapping[str, Stage]:
    """Every stage by the file that it becomes; `planner.onnx` is glued from them."""
    modalities = sorted(model.encoder.parts)

    def encode(*obs: Tensor) -> Outputs:
        return (model.encode(dict(zip(modalities, obs, strict=True))),)

    def propose(z: Tensor, prior: Tensor, terminal: Tensor) -> Outputs:
        return imagine_prior(model, z, prior, terminal, rules.cfg.value_lambda)

    def step(z: Tensor, action: Tensor) -> Outputs:
        return model.step(z, action)

    def policy(*obs: Tensor) -> Outputs:
        (z,) = encode(*obs)
        return (model.propose(z, z.new_zeros(z.shape[0], model.action_dim)),)

    functions: dict[str, Callable[..., Outputs]] = {
        ENCODE: encode,
        PROPOSE: propose,
        BEGIN: _make_begin(rules),
        SEARCH: _make_search(model, rules),
        CHOOSE: _choose,
        STEP: step,
        POLICY: policy,
    }
    return {name: Stage(model, function).eval() for name, function in functions.items()}


def _make_begin(rules: Rules) -> Callable[..., Outputs]:
    def begin_search(mean: Tensor, valid: Tensor, *elites: Tensor) -> Outputs:
        last = _plan(mean, valid, elites[0] if elites else _no_elites(mean))
        found = begin(last, rules.cfg)
        return found.mean, found.std, *((found.elites,) if elites else ())

    return begin_search


def _make_search(model: WorldModel, rules: Rules) -> Callable[..., Outputs]:
    def search(z: Tensor, mean: Tensor, std: Tensor, *rest: Tensor) -> Outputs:
        elites = rest[0] if rules.num_kept else _no_elites(mean)
        *proposals, candidates, terminal, heads = rest[bool(rules.num_kept) :]
        unused = mean[:, 0]
        found = Search(mean, std, elites, unused, unused, unused)
        noise = RoundNoise(candidates, terminal, heads)
        return refine(model, z, found, Imagined(*proposals), noise, rules)

    return search


def _choose(mean: Tensor, returns: Tensor, weights: Tensor) -> Outputs:
    """What a deployed planner executes (the mean's first action), and how sure it is."""
    elites = mean.unsqueeze(1).expand(-1, returns.shape[1], -1, -1)
    found = Search(mean, mean, elites, returns, weights, returns)
    value = choose(found, torch.zeros_like(returns)).value
    # an elite that is not usable counts nothing, and its return is too large to be squared
    apart = (returns - value.unsqueeze(1)).where(weights > 0, 0.0)
    spread = (weights * apart.square()).sum(dim=1).sqrt()
    return mean[:, 0], value, spread


def _plan(mean: Tensor, valid: Tensor, elites: Tensor) -> Plan:
    """A plan of which the search looks at these fields only."""
    count = valid.to(torch.long)
    return Plan(mean, mean, elites, valid, mean[:, 0], mean[:, 0, 0], count)


def _no_elites(mean: Tensor) -> Tensor:
    return mean.unsqueeze(1)[:, :0]
