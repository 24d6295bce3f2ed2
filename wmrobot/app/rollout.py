"""Whole episodes of an agent in its task, and what to tell of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wmrobot.app.controllers import Card, build_agent
from wmrobot.control.agents import AgentKind
from wmrobot.control.controller import Agent
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import FloatArray, Obs, Step, refuse_changed
from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.data.episodes import Episode
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One finished episode.

    Attributes:
        reward: Return, undiscounted.
        length: Decisions.
        terminated: Whether it ended before its time.
        success: Whether the task calls it a success; None where it does not tell.
    """

    reward: float
    length: int
    terminated: bool
    success: bool | None


@dataclass(kw_only=True)
class Rollout:
    """Finished episodes, in order of their rows, and how long decisions took.

    Attributes:
        episodes: One result an episode.
        act_ms: Time of each call of `act`, for all rows together [ms].
        recorded: The episodes' data, where it was asked for.
    """

    episodes: list[EpisodeResult] = field(default_factory=list)
    act_ms: list[float] = field(default_factory=list)
    recorded: list[Episode] = field(default_factory=list)

    @property
    def mean_reward(self) -> float:
        """Mean return."""
        return float(np.mean([episode.reward for episode in self.episodes]))

    @property
    def success_rate(self) -> float | None:
        """Share of successes; None where the task does not tell."""
        told = [episode.success for episode in self.episodes if episode.success is not None]
        return float(np.mean(told)) if told else None

    @property
    def termination_rate(self) -> float:
        """Share of episodes that ended before their time."""
        return float(np.mean([episode.terminated for episode in self.episodes]))


def run_episodes(
    agent: Agent,
    env: VectorEnv,
    *,
    record: bool = False,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[VectorEnv], None] = lambda env: None,
) -> Rollout:
    """Run one episode in every row of `env`, all rows together, without exploration.

    A row that has finished goes on (its environment restarts by itself) and is not counted.

    Args:
        agent: Who acts.
        env: One row an episode.
        record: Keep observations, actions and rewards of every episode.
        stop: Asked before every decision; True leaves out the episodes that have not ended.
        watch: Called before every decision, to look at the environments.
    """
    result = Rollout()
    ended: list[EpisodeResult | None] = [None] * env.num_envs
    total, length = np.zeros(env.num_envs), 0
    obs = env.reset()
    agent.reset()
    history: list[tuple[FloatArray, Step]] = []
    first = obs
    while any(episode is None for episode in ended) and not stop():
        watch(env)
        begin = time.perf_counter()
        action = agent.act(obs)
        result.act_ms.append((time.perf_counter() - begin) * 1e3)
        step = env.step(action)
        obs, length = step.obs, length + 1
        total += step.reward
        if record:
            history.append((action, step))
        for row in np.flatnonzero(step.ended):
            if ended[row] is None:
                ended[row] = EpisodeResult(
                    reward=float(total[row]),
                    length=length,
                    terminated=bool(step.terminated[row]),
                    success=bool(step.success[row]) if step.success_told[row] else None,
                )
        if step.ended.any():
            agent.reset(np.flatnonzero(step.ended))
    result.episodes = [episode for episode in ended if episode is not None]
    if record:
        result.recorded = list(_cut(first, history, ended))
    return result


def evaluate(
    model: WorldModel,
    card: Card,
    *,
    episodes: int,
    seed: int,
    agent: AgentKind = "trained",
    workers: int = 0,
    record: bool = False,
    stop: Callable[[], bool] = lambda: False,
    compiler: Compiler = leave_as_is,
    watch: Callable[[VectorEnv], None] = lambda env: None,
) -> Rollout:
    """Run `episodes` episodes without exploration, side by side.

    Nothing outside is touched: the same model and seed give the same episodes, whenever they run.

    Args:
        model: Trained model.
        card: What it was made for.
        episodes: How many.
        seed: Of the environments and of the planner's noise.
        agent: Who drives.
        workers: Processes for the environments.
        record: Keep the episodes' data.
        stop: Asked before every decision; True leaves out the episodes that have not ended.
        compiler: Makes planning faster.
        watch: Called before every decision, to look at the environments.
    """
    driver = build_agent(model, card, agent, seed, stream="evaluation", compiler=compiler)
    options: dict[str, Any] = card.env_options()
    env_seed = derive_seed(seed, "evaluation environments")
    with VectorEnv(card.task.name, episodes, seed=env_seed, workers=workers, **options) as env:
        refuse_changed(card.task, env.task_spec)
        return run_episodes(driver, env, record=record, stop=stop, watch=watch)


def _cut(
    first: Obs, history: list[tuple[FloatArray, Step]], ends: Sequence[EpisodeResult | None]
) -> Iterator[Episode]:
    """The first episode of every row, where it has ended."""
    for row, end in enumerate(ends):
        if end is None:
            continue
        steps = [(action[row], step) for action, step in history[: end.length]]
        yield Episode(
            obs={
                name: np.stack([value[row], *(step.final_obs[name][row] for _, step in steps)])
                for name, value in first.items()
            },
            action=np.stack([action for action, _ in steps]),
            reward=np.array([step.reward[row] for _, step in steps], dtype=np.float32),
            terminated=end.terminated,
        )
