"""What a run lives through: it decides in its environments and remembers what happened."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmrobot.app.training.progress import Progress
from wmrobot.app.training.settings import TrainConfig
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_numpy_generator
from wmrobot.core.spec import FloatArray, Step
from wmrobot.data.episodes import write_episode
from wmrobot.data.plans import PlannedAction
from wmrobot.data.replay import Replay
from wmrobot.envs.vector import VectorEnv


@dataclass
class _Begun:
    """A decision that is not in the replay yet."""

    action: FloatArray
    plan: PlannedAction | None
    step: Step | None = None  # what came of it, once that is known
    lost: tuple[int, ...] = ()  # rows whose episode a restart has cut off

    def state(self) -> dict[str, Any]:
        """As a tree of arrays."""
        assert self.step is not None
        plan = {} if self.plan is None else self.plan._asdict()
        return {
            "action": self.action,
            "plan": {name: value.cpu().numpy() for name, value in plan.items()},
            "step": asdict(self.step),
            "lost": list(self.lost),
        }

    @staticmethod
    def of(state: Mapping[str, Any]) -> "_Begun":
        """What `state` told."""
        plan = {name: torch.tensor(value) for name, value in state["plan"].items()}
        return _Begun(
            state["action"],
            PlannedAction(**plan) if plan else None,
            Step(**state["step"]),
            tuple(state["lost"]),
        )


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
        self._begun: _Begun | None = None

    def begin(self) -> None:
        """Start the first episodes."""
        self.obs = self.env.reset()
        self.replay.start(self.obs)

    @property
    def under_way(self) -> bool:
        """Whether a decision was begun and is not remembered yet."""
        return self._begun is not None

    def decide(self) -> None:
        """Choose actions and send them off; whoever calls may learn until `remember`.

        Raises:
            ObservationError: An observation, or what the planner made of it, is not finite.
        """
        action, plan = self._choose()
        self.env.step_async(action)
        self._begun = _Begun(action, plan)

    def remember(self) -> None:
        """Wait for what came of the actions, and put it into the replay."""
        begun, self._begun = self._begun, None
        assert begun is not None, "remember before decide"
        step = begun.step or self.env.step_wait()
        self.replay.add(begun.action, step, begun.plan)
        self.obs = step.obs
        self.returns += step.reward
        self.progress.counters.decisions += self.cfg.num_envs
        for row in np.flatnonzero(step.ended):
            if row in begun.lost:
                self.returns[row] = 0
            else:
                self._finish_episode(int(row))
        if step.ended.any():
            self.controller.reset(np.flatnonzero(step.ended))

    def _choose(self) -> tuple[FloatArray, PlannedAction | None]:
        """Actions (B, A), random ones at the start, and the plan behind them."""
        seen = {name: self.obs[name] for name in self.controller.obs_shapes}
        if self.progress.counters.decisions < self.cfg.seed_steps:
            self.controller.see(seen)
            shape = (self.cfg.num_envs, self.env.task_spec.action_dim)
            return self._explorer.uniform(-1, 1, shape).astype(np.float32), None
        action = self.controller.act(seen, explore=self._exploring)
        plan = self.controller.plan
        return action, PlannedAction(plan.mean[:, 0], plan.std[:, 0])

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
                write_episode(path, episode, self.env.task_spec)
        counters.episodes += 1

    def take_mean_return(self) -> float:
        """Mean return of the episodes that ended since the last call; NaN without one."""
        mean = float(np.mean(self._finished)) if self._finished else math.nan
        self._finished.clear()
        return mean

    def state(self) -> dict[str, Any]:
        """All that it needs to go on, as a tree; offline there are no environments to keep."""
        if self._begun is not None and self._begun.step is None:
            self._begun.step = self.env.step_wait()  # environments are where it left them
        return {
            "env": {} if self.cfg.offline else self.env.snapshot(),
            "explorer": self._explorer.bit_generator.state,
            "returns": self.returns,
            "finished": self._finished,
            "begun": {} if self._begun is None else self._begun.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` told; controller and replay have been restored before."""
        self._explorer.bit_generator.state = state["explorer"]
        self.returns = np.array(state["returns"])
        self._finished = list(state["finished"])
        self._begun = _Begun.of(state["begun"]) if state.get("begun") else None
        if not self.cfg.offline:
            self._restore_env(state["env"])

    def _restore_env(self, snapshot: Mapping[str, Any]) -> None:
        self.obs = self.env.restore(snapshot)
        lost = np.array([int(row) for row, state in snapshot["rows"].items() if state is None])
        if len(lost) == 0:
            return
        lost.sort()  # cannot snapshot: these rows have begun a new episode
        anew = {name: value[lost] for name, value in self.obs.items()}
        if self._begun is not None:  # the old one ends with what is still to be remembered
            step = self._begun.step
            assert step is not None
            for name, value in anew.items():
                step.obs[name][lost] = value
            cut = lost[~step.ended[lost]]
            step.truncated[cut] = True
            self._begun.lost += tuple(cut.tolist())
            return
        self.returns[lost] = 0
        self.controller.reset(lost)
        self.replay.start(anew, lost)
