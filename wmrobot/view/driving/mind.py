"""Who decides, and what it thought: planner, prior, or nothing at all, changed while it drives."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from wmrobot.control.agents import AgentKind, PriorAgent, ShuffledDynamics, ZeroAgent
from wmrobot.control.controller import Controller, to_tensors
from wmrobot.core.spec import FloatArray, Obs
from wmrobot.core.types import Compiler, LatentModel, leave_as_is
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig, SearchConfig
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.runtime.planning.planner import Planner as RuntimePlanner
from wmrobot.view.driving.timed_planner import Stages

PLANNERS: Mapping[str, type[PlannerConfig]] = {
    "mppi": MppiConfig,
    "cem": CemConfig,
    "icem": IcemConfig,
}


@dataclass(frozen=True, kw_only=True)
class Thought:
    """What a decision was based on.

    Attributes:
        mean: (H, A) planned actions.
        std: (H, A) their spread.
        value: Return that the plan expects from here on.
        reward: Reward that the model expects of the first action.
    """

    mean: np.ndarray
    std: np.ndarray
    value: float
    reward: float | None


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Imagined latents.

    Attributes:
        z: (E, L + 1, Z), the mean first.
        horizon: Steps that were searched; the prior went on from there.
    """

    z: Tensor
    horizon: int


class Mind(Protocol):
    """Drives one robot, and tells what it thought."""

    stages_ms: dict[str, float]

    def act(self, obs: Obs) -> FloatArray:
        """Action (1, A) for observations (1, ...)."""
        ...

    def reset(self) -> None:
        """Forget the past, at the start of an episode."""
        ...

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take settings that somebody has changed.

        Raises:
            ConfigError: They do not go together; nothing is changed.
        """
        ...

    def thought(self) -> Thought | None:
        """What the last decision was based on; None for who plans nothing."""
        ...

    def imagine(self, rollouts: int, steps: int) -> Rollouts | None:
        """Futures from the last observation; None for who has no model to imagine with."""
        ...


def planner_from(base: PlannerConfig, values: Mapping[str, Any]) -> PlannerConfig:
    """The planner that the window's settings ask for.

    Where there are fewer samples than it was made for, elites and proposals are fewer too.

    Args:
        base: What it was trained with.
        values: Some of `planner`, `horizon`, `samples`, `iterations`, `inverse_temperature`.
    """
    kind = PLANNERS[values.get("planner", base.kind)]
    shared: dict[str, Any] = {f.name: getattr(base, f.name) for f in fields(SearchConfig)}
    for name, setting in (("horizon", "horizon"), ("iterations", "iterations")):
        shared[setting] = values.get(name, shared[setting])
    shared["num_samples"] = count = values.get("samples", shared["num_samples"])
    if count < base.num_samples:
        shared["num_elites"] = max(1, min(base.num_elites, count // 2))
        shared["num_prior"] = min(base.num_prior, count // 4)
    if kind is MppiConfig and "inverse_temperature" in values:
        shared["inverse_temperature"] = values["inverse_temperature"]
    elif type(base) is kind:
        own = {f.name for f in fields(kind) if f.init} - shared.keys() - {"kind"}
        shared |= {name: getattr(base, name) for name in own}
    return kind(**shared)


@dataclass(kw_only=True)
class LearnedMind:
    """A learned model with whatever drives on it.

    Attributes:
        model: The model; replaced where a newer checkpoint comes.
        base: Planner that it was trained with.
        obs_shapes: Shape of one observation by modality.
        frame_stack: Frames that it sees.
        generator: Random stream, on the model's device.
        agent: Who drives.
        compiler: Makes the planner faster as it was trained, `base` and the model as it is; any
            other one runs as it is, because compiling it would stop the robot for seconds.
    """

    model: WorldModel
    base: PlannerConfig
    obs_shapes: Mapping[str, tuple[int, ...]]
    frame_stack: int
    generator: torch.Generator
    agent: AgentKind = "trained"
    compiler: Compiler = leave_as_is
    stages_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planner = self.base
        self._seen: dict[str, Tensor] = {}
        self._rebuild()

    def adopt(self, model: WorldModel) -> None:
        """Go on with another model of the same sizes."""
        self.model = model
        self._rebuild()

    def configure(self, values: Mapping[str, Any]) -> None:
        """See `Mind`."""
        planner = planner_from(self.base, values)
        agent = cast("AgentKind", values.get("agent", self.agent))
        if (planner, agent) != (self.planner, self.agent):
            self.planner, self.agent = planner, agent
            self._rebuild()

    def _rebuild(self) -> None:
        device = self.generator.device
        wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
        as_trained = (self.planner, self.agent) == (self.base, "trained")
        self._stages = Stages(self.planner, wait, self.compiler if as_trained else leave_as_is)
        self._frames = FrameStack(self.frame_stack)
        self._driver: Controller | PriorAgent | ZeroAgent
        match self.agent:
            case "prior":
                self._driver = PriorAgent(
                    self.model,
                    frame_stack=self.frame_stack,
                    obs_shapes=dict(self.obs_shapes),
                    device=device,
                )
            case "zero" | "random":
                self._driver = ZeroAgent(self.model.action_dim)
            case "trained" | "shuffled":
                self._driver = Controller(
                    ShuffledDynamics(self.model) if self.agent == "shuffled" else self.model,
                    self.planner,
                    obs_shapes=self.obs_shapes,
                    action_dim=self.model.action_dim,
                    num_q=self.model.cfg.num_q,
                    frame_stack=self.frame_stack,
                    generator=self.generator,
                    compiler=self._stages,
                )

    def act(self, obs: Obs) -> FloatArray:
        """See `Mind`."""
        begin = time.perf_counter()
        action = self._driver.act(obs)
        total = (time.perf_counter() - begin) * 1e3
        if isinstance(self._driver, Controller):
            known = dict(self._stages.ms)
        else:
            known = {"prior": total if self.agent == "prior" else 0.0}
            self._seen = cast("dict[str, Tensor]", self._frames.push(obs))
        # What is left: observations to the device, noise drawn, the action back.
        self.stages_ms = {**known, "transport": max(0.0, total - sum(known.values()))}
        return action

    def reset(self) -> None:
        """See `Mind`."""
        self._driver.reset()
        self._frames.reset()

    @torch.no_grad()
    def thought(self) -> Thought | None:
        """See `Mind`."""
        if not isinstance(self._driver, Controller) or self._stages.z is None:
            return None
        plan = self._driver.plan
        _, reward, _ = self._imagined_with.step(self._stages.z, plan.mean[:, 0])
        return Thought(
            mean=plan.mean[0].cpu().numpy(),
            std=plan.std[0].cpu().numpy(),
            value=float(plan.value[0]),
            reward=float(reward[0]),
        )

    @torch.no_grad()
    def imagine(self, rollouts: int, steps: int) -> Rollouts | None:
        """See `Mind`."""
        if isinstance(self._driver, Controller):
            if self._stages.z is None:
                return None
            plan, z = self._driver.plan, self._stages.z
            others = plan.elites[:, : rollouts - 1]
            actions = torch.cat([plan.mean.unsqueeze(1), others], dim=1)  # (1, E, H, A)
        else:
            z = self.model.encode(to_tensors(cast(Obs, self._seen), self.generator.device))
            actions = z.new_zeros(1, 1, 0, self.model.action_dim)
        return Rollouts(z=self._roll(z, actions, steps), horizon=min(actions.shape[2], steps))

    def _roll(self, z: Tensor, actions: Tensor, steps: int) -> Tensor:
        """Latents (E, L + 1, Z): the given actions (1, E, H, A) first, then the prior's."""
        model, horizon = self._imagined_with, actions.shape[2]
        z = z.unsqueeze(1).expand(-1, actions.shape[1], -1)
        latents = [z]
        idle = z.new_zeros(1, z.shape[1], actions.shape[3])
        for t in range(steps):
            if t < horizon:
                action = actions[:, :, t]
            else:
                action = idle if self.agent == "zero" else model.propose(z, idle)
            z, _, _ = model.step(z, action)
            latents.append(z)
        return torch.stack(latents, dim=2)[0]

    @property
    def _imagined_with(self) -> LatentModel:
        """What the planner believes in: shuffled dynamics too."""
        return self._driver.model if isinstance(self._driver, Controller) else self.model


@dataclass(kw_only=True)
class BundleMind:
    """An exported planner. Its settings are fixed, and its latent is not told.

    Attributes:
        planner: The planner.
    """

    planner: RuntimePlanner
    stages_ms: dict[str, float] = field(default_factory=dict)

    def act(self, obs: Obs) -> FloatArray:
        """See `Mind`."""
        begin = time.perf_counter()
        action = self.planner.act(obs)
        # One graph does all of it.
        self.stages_ms = {"search": (time.perf_counter() - begin) * 1e3}
        return action

    def reset(self) -> None:
        """See `Mind`."""
        self.planner.reset()

    def configure(self, values: Mapping[str, Any]) -> None:
        """See `Mind`: nothing of it can be changed."""

    def thought(self) -> Thought | None:
        """See `Mind`."""
        told = self.planner.outputs
        return Thought(mean=told.mean[0], std=told.std[0], value=float(told.value[0]), reward=None)

    def imagine(self, rollouts: int, steps: int) -> Rollouts | None:
        """See `Mind`."""
        return None
