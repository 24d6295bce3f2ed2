"""What a run lives through: it decides in its environments and remembers what happened."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.progress import Progress
from wmrobot.app.settings import TrainConfig
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_numpy_generator
from wmrobot.core.spec import FloatArray
from wmrobot.data.episodes import write_episode
from wmrobot.data.plans import PlannedAction
from wmrobot.data.replay import Replay
from wmrobot.envs.vector import VectorEnv


class Collector:
    """Drives the environments of a run, and puts what happens into its replay.

    Args:
        cfg: Settings of the run.
        env: B environments.
        controller: Who decides, once the random decisions are over.
        replay: Where transitions go.
        progress: Counts decisions and episodes, tells the last return.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        env: VectorEnv,
        controller: Controller,
        replay: Replay,
        progress: Progress,
    ) -> None:
        self.cfg, self.env, self.controller = cfg, env, controller
        self.replay, self.progress = replay, progress
        self._explorer = make_numpy_generator(cfg.seed, "seed actions")
        self._exploring = np.arange(cfg.num_envs) >= cfg.greedy_envs
        self._finished: list[float] = []  # returns since they were last told
        self.returns = np.zeros(cfg.num_envs)  # of the episodes that go on
        self.obs: dict[str, np.ndarray] = {}
        self._planned: PlannedAction | None = None  # behind the actions that were chosen last

    def begin(self) -> None:
        """Start the first episodes."""
        self.obs = self.env.reset()
        self.replay.start(self.obs)

    def choose(self) -> FloatArray:
        """Actions (B, A): random ones at the start, then planned.

        Raises:
            ObservationError: An observation, or what the planner made of it, is not finite.
        """
        if self.progress.counters.decisions < self.cfg.seed_steps:
            shape = (self.cfg.num_envs, self.env.task_spec.action_dim)
            self._planned = None
            return self._explorer.uniform(-1, 1, shape).astype(np.float32)
        seen = {name: self.obs[name] for name in self.controller.obs_shapes}
        action = self.controller.act(seen, explore=self._exploring)
        plan = self.controller.plan
        self._planned = PlannedAction(plan.mean[:, 0], plan.std[:, 0])
        return action

    def execute(self, action: FloatArray) -> None:
        """Take one decision in every environment, and remember it."""
        step = self.env.step(action)
        self.replay.add(action, step, self._planned)
        self.obs = step.obs
        self.returns += step.reward
        self.progress.counters.decisions += self.cfg.num_envs
        for row in np.flatnonzero(step.ended):
            self._finish_episode(int(row))
        if step.ended.any():
            self.controller.reset(np.flatnonzero(step.ended))

    def _finish_episode(self, row: int) -> None:
        counters = self.progress.counters
        self.progress.last_return = float(self.returns[row])
        self._finished.append(self.progress.last_return)
        self.returns[row] = 0
        if self.cfg.save_episodes is not None:
            episode = self.replay.finished_episode(row)
            if episode is not None:
                name = f"episode-{counters.episodes:06d}.safetensors"
                path = Path(self.cfg.save_episodes) / name
                write_episode(path, episode, self.env.task_spec.name)
        counters.episodes += 1

    def take_mean_return(self) -> float:
        """Mean return of the episodes that ended since the last call; NaN without one."""
        mean = float(np.mean(self._finished)) if self._finished else math.nan
        self._finished.clear()
        return mean

    def state(self) -> dict[str, Any]:
        """All that it needs to go on, as a tree; offline there are no environments to keep."""
        return {
            "env": {} if self.cfg.offline else self.env.snapshot(),
            "explorer": self._explorer.bit_generator.state,
            "returns": self.returns,
            "finished": self._finished,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` told; controller and replay have been restored before."""
        self._explorer.bit_generator.state = state["explorer"]
        self.returns = np.array(state["returns"])
        self._finished = list(state["finished"])
        if not self.cfg.offline:
            self._restore_env(state["env"])

    def _restore_env(self, snapshot: Mapping[str, Any]) -> None:
        self.obs = self.env.restore(snapshot)
        lost = np.array([int(row) for row, state in snapshot["rows"].items() if state is None])
        if len(lost):  # cannot snapshot: these rows have begun a new episode
            lost.sort()
            self.returns[lost] = 0
            self.controller.reset(lost)
            self.replay.start({name: value[lost] for name, value in self.obs.items()}, lost)
