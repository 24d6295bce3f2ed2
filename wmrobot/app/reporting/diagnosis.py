"""What a trained model got right: episodes of its own, looked at from every side."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from wmrobot.app.controllers import Card, build_agent
from wmrobot.app.rollout import Rollout, run_episodes
from wmrobot.control.agents import AgentKind
from wmrobot.control.controller import Agent, Controller, to_tensors
from wmrobot.core.random import make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Array, BoolArray, FloatArray, Obs
from wmrobot.data.batch import Batch
from wmrobot.data.episodes import Episode
from wmrobot.data.replay import Replay
from wmrobot.envs.vector import VectorEnv
from wmrobot.learn.diagnostics import (
    OpenLoop,
    ValueBias,
    effective_rank,
    known_returns,
    linear_probe,
    open_loop_error,
    plan_figures,
    value_bias,
)
from wmrobot.model.world_model import WorldModel
from wmrobot.runtime.planning.frames import FrameStack

WINDOWS = 1024


@dataclass(kw_only=True)
class Watched:
    """An agent that is looked at while it drives.

    Attributes:
        agent: Who drives.
        env: What it drives, stepped in this process.
        rollout: Its episodes.
        plans: By figure, one number a decision; empty for an agent that plans nothing.
        imagined: Expected return of each plan, (B,) a decision.
        positions: Joint positions (B, J) at each decision; empty where there are no joints.
        joints: Their J names.
    """

    agent: Agent
    env: VectorEnv
    rollout: Rollout = field(default_factory=Rollout)
    plans: dict[str, list[float]] = field(default_factory=dict)
    imagined: list[np.ndarray] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    joints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.env.physics() is not None:
            from wmrobot.envs.joints import joint_names

            self.joints = joint_names(self.env.physics())

    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """See `Agent`."""
        if self.joints:
            from wmrobot.envs.joints import joint_positions

            rows = range(self.env.num_envs)
            self.positions.append(np.stack([joint_positions(self.env.physics(i)) for i in rows]))
        action = self.agent.act(obs, explore=explore)
        if isinstance(self.agent, Controller):
            for name, value in plan_figures(self.agent.plan).items():
                self.plans.setdefault(name, []).append(value)
            self.imagined.append(self.agent.plan.value.cpu().numpy())
        return action

    def reset(self, rows: Array | None = None) -> None:
        """See `Agent`."""
        self.agent.reset(rows)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Figures of one controller.

    Attributes:
        agents: Mean return and its standard deviation over episodes, by agent.
        open_loop: Errors by horizon, over episodes that it did not learn from.
        prior_value: The prior's value beside what the prior alone earned.
        plan_value: The plans' value beside what the planner earned.
        plans: Mean of each of the planner's figures.
        rank: Effective rank of the latents.
        probe: R^2 of each joint position; empty where there are no joints, or a single episode.
        probe_shape: Decisions to fit by, decisions held out, latent, and joint positions.
    """

    agents: Mapping[AgentKind, tuple[float, float]]
    open_loop: OpenLoop
    prior_value: ValueBias
    plan_value: ValueBias
    plans: Mapping[str, float]
    rank: float
    probe: Mapping[str, float]
    probe_shape: tuple[int, int, int, int]


def diagnose(model: WorldModel, card: Card, *, episodes: int, horizon: int, seed: int) -> Diagnosis:
    """Drive whole episodes by the planner and by what it is compared with, and look at them.

    Args:
        model: Trained model.
        card: What it was made for.
        episodes: Of each agent, the same starting states for all.
        horizon: H of the open-loop errors.
        seed: Of the environments and of the planner's noise.
    """
    kinds: tuple[AgentKind, ...] = ("trained", "prior", "shuffled", "zero")
    driven = {kind: watch(model, card, kind, episodes=episodes, seed=seed) for kind in kinds}
    planner = driven["trained"]
    recorded = planner.rollout.recorded
    latents = [encode_episode(model, card, episode) for episode in recorded]
    probe, shape = _probe(planner, latents)
    windows = _windows(card, recorded, horizon, seed).to(_device(model))
    with torch.no_grad():
        seen = model.encode(windows.obs)
    returns = {k: [e.reward for e in each.rollout.episodes] for k, each in driven.items()}
    return Diagnosis(
        agents={kind: (float(np.mean(r)), float(np.std(r))) for kind, r in returns.items()},
        open_loop=open_loop_error(model, seen, windows),
        prior_value=_prior_value(model, card, driven["prior"].rollout.recorded),
        plan_value=_plan_value(card, planner),
        plans={name: float(np.mean(values)) for name, values in planner.plans.items()},
        rank=effective_rank(torch.cat(latents)),
        probe=probe,
        probe_shape=shape,
    )


def watch(model: WorldModel, card: Card, kind: AgentKind, *, episodes: int, seed: int) -> Watched:
    """Episodes of one agent, all side by side, looked at."""
    driver = build_agent(model, card, kind, seed, stream="diagnosis")
    env_seed = derive_seed(seed, "diagnosis environments")
    # one by one: rows of a batch do not show their joints
    with VectorEnv(
        card.task.name, episodes, seed=env_seed, batched=False, **card.env_options()
    ) as env:
        watched = Watched(agent=driver, env=env)
        watched.rollout = run_episodes(watched, env, record=True)
    return watched


@torch.no_grad()
def encode_episode(model: WorldModel, card: Card, episode: Episode) -> Tensor:
    """Latents (T + 1, Z) of an episode, its frames stacked as a controller does."""
    frames = FrameStack(card.model.frame_stack)
    length = len(episode.action) + 1
    seen = [frames.push({n: v[t : t + 1] for n, v in episode.obs.items()}) for t in range(length)]
    obs = {name: np.concatenate([each[name] for each in seen]) for name in episode.obs}
    return model.encode(to_tensors(obs, _device(model)))


def _windows(card: Card, recorded: list[Episode], horizon: int, seed: int) -> Batch:
    """Windows of H decisions, drawn from episodes."""
    replay = Replay(
        obs_shapes=card.task.obs_shapes,
        action_dim=card.task.action_dim,
        num_envs=1,
        capacity=sum(len(episode.action) + 1 for episode in recorded),
        horizon=horizon,
        frame_stack=card.model.frame_stack if "rgb" in card.task.obs_shapes else 1,
    )
    for episode in recorded:
        replay.add_episode(episode, 0)
    return replay.sample(make_numpy_generator(seed, "diagnosis"), WINDOWS)


@torch.no_grad()
def _prior_value(model: WorldModel, card: Card, recorded: list[Episode]) -> ValueBias:
    """Value of the prior's own actions beside what they earned."""
    heads = torch.arange(card.model.num_q, device=_device(model))
    values: list[np.ndarray] = []
    returns: list[np.ndarray] = []
    for episode in recorded:
        z = encode_episode(model, card, episode)
        action = model.propose(z, z.new_zeros(len(z), card.task.action_dim))
        estimate = model.value(z, action, heads).cpu().numpy()
        _keep_known(card, episode, estimate, values, returns)
    return value_bias(np.concatenate(values), np.concatenate(returns))


def _plan_value(card: Card, planner: Watched) -> ValueBias:
    """Expected return of the plans beside what the planner earned."""
    imagined = np.stack(planner.imagined)  # (T, B)
    values: list[np.ndarray] = []
    returns: list[np.ndarray] = []
    for row, episode in enumerate(planner.rollout.recorded):
        _keep_known(card, episode, imagined[: len(episode.action), row], values, returns)
    return value_bias(np.concatenate(values), np.concatenate(returns))


def _keep_known(
    card: Card,
    episode: Episode,
    value: np.ndarray,
    values: list[np.ndarray],
    returns: list[np.ndarray],
) -> None:
    """Values (T + 1,) at every observation of an episode, or (T,) at all but the last."""
    is_over = episode.terminated
    cut = len(value) if is_over else len(value) - 1  # the last value is that of what follows
    cut = min(cut, len(episode.reward))
    earned, known = known_returns(
        episode.reward[:cut], card.discount, terminated=is_over, beyond=float(value[-1])
    )
    values.append(value[:cut][known])
    returns.append(earned[known])


def _probe(
    planner: Watched, latents: list[Tensor]
) -> tuple[dict[str, float], tuple[int, int, int, int]]:
    """Fit on one half of the episodes, judge on the other."""
    recorded = planner.rollout.recorded
    if not planner.joints or len(recorded) < 2:
        return {}, (0, 0, 0, 0)
    positions = np.stack(planner.positions)  # (T, B, J)
    half = len(recorded) // 2
    z, target = [], []
    for row, (episode, latent) in enumerate(zip(recorded, latents, strict=True)):
        z.append(latent[:-1].cpu().double().numpy())
        target.append(positions[: len(episode.action), row])
    fit, held = slice(0, half), slice(half, None)
    train_z, held_z = np.concatenate(z[fit]), np.concatenate(z[held])
    train, judged = np.concatenate(target[fit]), np.concatenate(target[held])
    r2 = linear_probe(train_z, train, held_z, judged)
    shape = (len(train_z), len(held_z), train_z.shape[1], train.shape[1])
    return dict(zip(planner.joints, r2.tolist(), strict=True)), shape


def _device(model: WorldModel) -> torch.device:
    return next(model.parameters()).device
