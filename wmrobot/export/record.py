"""Real decisions to compare planners on: the controller drives its task, and is written down."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from wmrobot.core.errors import ObservationError
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import refuse_changed
from wmrobot.core.types import Plan
from wmrobot.envs.vector import VectorEnv
from wmrobot.export.facts import Facts
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.planner import make_rules
from wmrobot.plan.search import (
    Imagined,
    RoundNoise,
    Rules,
    begin,
    choose,
    imagine_prior,
    refine,
)
from wmrobot.runtime.arrays import Array, Obs
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.runtime.planning.golden import Golden, Tick, pack
from wmrobot.runtime.planning.noise import Noise, draw_noise, make_generator
from wmrobot.runtime.planning.planner import Outputs, Previous, nothing_planned

ANY_BATCH = 2
"""Robots that drive where a bundle takes any number of them."""
FEWEST = 30
"""Decisions that are recorded however long they take."""


class EqualInOrder(TorchFunctionMode):
    """Within it, `topk` takes equal values in order of their index, as ONNX defines it.

    PyTorch leaves that open, and returns are equal where the model expects termination: what a
    candidate would have done after that makes no difference.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """One call of torch."""
        if func is not torch.Tensor.topk:
            return func(*args, **(kwargs or {}))
        (values, count), dim = args, (kwargs or {})["dim"]
        ordered = values.sort(dim=dim, descending=True, stable=True)
        best, indices = self.reorder(ordered.values, ordered.indices, count)
        return torch.return_types.topk((best.narrow(dim, 0, count), indices.narrow(dim, 0, count)))

    def reorder(
        self, values: torch.Tensor, indices: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (B, N), best first, and their indices, of which the first `count` are taken."""
        return values, indices


_IN_ORDER = EqualInOrder()


class TorchPlanner:
    """The trained planner in PyTorch, as a pure function of what the bundle's graph takes.

    Args:
        model: Trained model.
        rules: What tells its planner from others.
    """

    def __init__(self, model: WorldModel, rules: Rules) -> None:
        self.model, self.rules = model, rules

    def __call__(self, obs: Obs, noise: Noise, previous: Previous) -> Outputs:
        """See `wmrobot.runtime.Planner.plan`."""
        return self.plan(self.encode(obs), noise, previous)

    @torch.inference_mode()
    def encode(self, obs: Obs) -> torch.Tensor:
        """Latent (B, Z), frames stacked along C."""
        return self.model.encode({name: torch.tensor(value) for name, value in obs.items()})

    @torch.inference_mode()
    def plan(
        self,
        z: torch.Tensor,
        noise: Noise,
        previous: Previous,
        order: EqualInOrder = _IN_ORDER,
    ) -> Outputs:
        """Plan from a latent (B, Z); `order` decides between candidates."""
        candidates, prior, terminal, heads = map(torch.tensor, noise)
        mean, valid, elites = map(torch.tensor, previous)
        kept = self.rules.num_kept
        num_prior = prior.shape[1]
        eps, value_lambda = terminal[:, :num_prior], self.rules.cfg.value_lambda
        proposals: Imagined = imagine_prior(self.model, z, prior, eps, value_lambda)
        count = valid.to(torch.long)
        last = Plan(mean, mean, elites, valid, mean[:, 0], mean[:, 0, 0], count)
        found = begin(last, self.rules.cfg)
        for i in range(len(candidates)):
            drawn = RoundNoise(candidates[i], terminal[:, num_prior:], heads[i])
            with order:
                found = refine(self.model, z, found, proposals, drawn, self.rules)
        chosen = choose(found, torch.zeros_like(found.weights))
        apart = (found.returns - chosen.value.unsqueeze(1)).where(found.weights > 0, 0.0)
        spread = (found.weights * apart.square()).sum(dim=1).sqrt()
        answer = (
            found.mean[:, 0], found.mean, found.std, chosen.value, spread, found.num_invalid,
            found.elites[:, :kept],
        )  # fmt: skip
        return Outputs(*(value.numpy() for value in answer))


@dataclass(kw_only=True)
class Recording:
    """What was written down.

    Attributes:
        golden: The decisions.
        returns: Undiscounted, of every episode that ended on the way.
        seconds: How long it took.
    """

    golden: Golden
    returns: list[float] = field(default_factory=list)
    seconds: float = 0.0


def record(
    facts: Facts,
    description: Description,
    *,
    num_vectors: int,
    seed: int,
    patience_s: float | None = None,
) -> Recording:
    """Let the planner drive, and keep every decision.

    Args:
        facts: Trained controller.
        description: Of the bundle to be.
        num_vectors: Decisions to keep, over all robots; rounded up to whole ticks.
        seed: Of the environments and of the noise.
        patience_s: Time after which fewer will do [s], `FEWEST` at least; None takes them all.

    Raises:
        ObservationError: The planner predicts nothing finite.
    """
    begin_s = time.perf_counter()
    batch = description.batch or ANY_BATCH
    planner = TorchPlanner(facts.model, make_rules(facts.planner))
    frames = FrameStack(facts.model.cfg.frame_stack)
    ticks: list[Tick] = []
    newest: list[Obs] = []
    fresh: list[Array] = [np.ones(batch, np.bool_)]
    seeds = [derive_seed(seed, f"golden noise/{t}") for t in range(-(-num_vectors // batch))]
    returns, total = [], np.zeros(batch)
    previous = nothing_planned(description, batch)
    env_seed = derive_seed(seed, "golden environments")
    with VectorEnv(facts.task.name, batch, seed=env_seed, **facts.options) as env:
        refuse_changed(facts.task, env.task_spec)
        obs = env.reset()
        for noise_seed in seeds:
            spent_s = time.perf_counter() - begin_s
            if patience_s is not None and spent_s > patience_s and len(ticks) * batch >= FEWEST:
                break
            noise = draw_noise(description, batch, make_generator(noise_seed))
            stacked = frames.push(obs)
            answer = planner(stacked, noise, previous)
            _refuse_lost(answer, facts.planner.num_samples)
            ticks.append(Tick(stacked, noise, previous, answer))
            newest.append({name: value.copy() for name, value in obs.items()})
            step = env.step(answer.action)
            total += step.reward
            returns += total[step.ended].tolist()
            total[step.ended] = 0.0
            frames.reset(np.flatnonzero(step.ended))
            fresh.append(step.ended)
            previous = answer.as_previous()._replace(valid=~step.ended)
            obs = step.obs
    golden = Golden(description, pack(ticks, newest, fresh[:-1], seeds[: len(ticks)]))
    return Recording(golden=golden, returns=returns, seconds=time.perf_counter() - begin_s)


def _refuse_lost(answer: Outputs, num_samples: int) -> None:
    rows: Sequence[int] = np.flatnonzero(answer.num_invalid == num_samples).tolist()
    if rows or not np.isfinite(answer.mean).all():
        raise ObservationError(
            f"plan: expected a candidate with a finite return, got none for rows {rows}; "
            "the model's weights are broken, train it again"
        )
