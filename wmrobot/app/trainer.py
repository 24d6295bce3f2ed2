"""The training loop: act, remember, learn, evaluate, save; all of it can stop and go on anywhere.

The order is fixed: update k sees the data through decision k - 1, the planner the weights after
update k - 1.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmrobot.app.checkpoint import ReplayChunks, read_training, save_checkpoint
from wmrobot.app.controllers import (
    Card,
    find_controller,
    load_weights,
    make_controller,
    make_model,
    read_controller,
)
from wmrobot.app.evaluation import evaluate
from wmrobot.app.logs import Logs
from wmrobot.app.settings import TrainConfig
from wmrobot.core.errors import CheckpointError, ConfigError, TrainingError
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import FloatArray
from wmrobot.data.episodes import read_episodes, write_episode
from wmrobot.data.replay import Replay, memory_budget
from wmrobot.envs.registry import task_info
from wmrobot.envs.vector import VectorEnv
from wmrobot.learn.learner import Learner


@dataclass(kw_only=True)
class Counters:
    """Where a run is.

    Attributes:
        decisions: Decisions taken, over all environments (offline: updates made).
        updates: Gradient updates made.
        episodes: Episodes finished.
        owed: Part of an update that is still owed, for fractional `updates_per_decision`.
    """

    decisions: int = 0
    updates: int = 0
    episodes: int = 0
    owed: float = 0.0


@dataclass(kw_only=True)
class Progress:
    """What a progress bar shows.

    Attributes:
        counters: Where the run is.
        last_return: Mean return of the newest finished episode or evaluation.
        collect_s: Seconds spent planning and simulating.
        update_s: Seconds spent learning.
        evaluate_s: Seconds spent evaluating and saving.
    """

    counters: Counters = field(default_factory=Counters)
    last_return: float = math.nan
    collect_s: float = 0.0
    update_s: float = 0.0
    evaluate_s: float = 0.0


class Trainer:
    """One run, from its settings or from its last checkpoint.

    Args:
        cfg: Settings.
        run: Folder of the run, locked by the caller.
        device: Where the model lives.
        made: Provenance to put on the card.

    Raises:
        DataError: The replay does not fit into memory.
    """

    def __init__(
        self, cfg: TrainConfig, run: Path, device: torch.device, made: Mapping[str, Any]
    ) -> None:
        self.cfg, self.run, self.device = cfg, run, device
        self.env = VectorEnv(
            cfg.task,
            cfg.num_envs,
            seed=derive_seed(cfg.seed, "environments"),
            workers=cfg.workers,
            obs=cfg.obs,
            cameras=cfg.cameras,
            render=cfg.render,
            image_size=cfg.image_size,
        )
        spec = self.env.task_spec
        self.card = Card(
            task=spec,
            obs=cfg.obs,
            cameras=cfg.cameras,
            render=cfg.render,
            image_size=cfg.image_size,
            randomization=task_info(cfg.task).randomization,
            model=cfg.model,
            planner=cfg.planner,
            discount=cfg.learner.discount(spec.episode_decisions),
            made={**made, "seed": cfg.seed, "profile": cfg.profile},
        )
        # layers draw their first weights from torch's global stream
        torch.manual_seed(derive_seed(cfg.seed, "weights"))
        self.model = make_model(self.card, device)
        self.learner = Learner(self.model, cfg.learner, make_generator(cfg.seed, "learner", device))
        self.controller = make_controller(
            self.model, self.card, make_generator(cfg.seed, "planner", device)
        )
        self.replay = self._make_replay()
        self.chunks = ReplayChunks(run / "replay", self.replay)
        self.logs = Logs(run, cfg.wandb)
        self.progress = Progress()
        self.stop_requested = False
        self._sampler = make_numpy_generator(cfg.seed, "replay")
        self._explorer = make_numpy_generator(cfg.seed, "seed actions")
        self._returns = np.zeros(cfg.num_envs)
        self._finished: list[float] = []  # returns since the last row of train.csv
        self._metrics: dict[str, Tensor] = {}
        self._obs: dict[str, np.ndarray] = {}

    @property
    def counters(self) -> Counters:
        """Where the run is."""
        return self.progress.counters

    def _make_replay(self) -> Replay:
        cfg, spec = self.cfg, self.env.task_spec
        recorded = _recorded_rows(Path(cfg.data), spec.name) if cfg.data else 0
        collected = 0 if cfg.offline else cfg.steps
        num_envs = cfg.num_envs
        return Replay(
            obs_shapes=spec.obs_shapes,
            action_dim=spec.action_dim,
            num_envs=num_envs,
            # every episode takes a row more than it has decisions
            capacity=min(
                cfg.replay.buffer_size,
                recorded + collected + -(-collected // spec.episode_decisions) + num_envs,
            ),
            horizon=cfg.planner.horizon,
            frame_stack=cfg.model.frame_stack if "rgb" in spec.obs_shapes else 1,
            device=self.device if cfg.replay.storage == "device" else "cpu",
            budget_bytes=memory_budget(cfg.replay, self.device),
        )

    def begin(self) -> None:
        """Start from nothing but what `init` and `data` bring."""
        if self.cfg.init is not None:
            self._init_weights(self.cfg.init)
        if self.cfg.data is not None:
            recorded = read_episodes(Path(self.cfg.data), self.card.task.name)
            for index, episode in enumerate(recorded):
                self.replay.add_episode(episode, index % self.cfg.num_envs)
        if not self.cfg.offline:
            self._obs = self.env.reset()
            self.replay.start(self._obs)

    def _init_weights(self, init: str) -> None:
        is_folder = Path(init).expanduser().is_dir()
        folder = find_controller(task=None if is_folder else init, run=init if is_folder else None)
        donor, _ = read_controller(folder, self.device)
        weights = {name: value.cpu().numpy() for name, value in donor.state_dict().items()}
        load_weights(self.model, weights, folder)
        self.learner.target_values.load_state_dict(self.model.values.state_dict())

    def resume(self, checkpoint: Path) -> None:
        """Go on exactly where a checkpoint of this run was saved.

        Raises:
            CheckpointError: It is altered, or of another task.
        """
        state = read_training(checkpoint)
        model, card = read_controller(checkpoint, self.device)
        if card.task != self.card.task:
            raise CheckpointError(
                f"{checkpoint}: expected a checkpoint of {self.card.task.name} with this run's "
                f"sizes, got one of {card.task.name}"
            )
        self.model.load_state_dict(model.state_dict())
        self.learner.load_state(state["learner"])
        self.controller.load_state(state["controller"])
        self.chunks.load(state["chunks"])
        self.progress.counters = Counters(**state["counters"])
        self.progress.last_return = state["last_return"] if state["last_return"] else math.nan
        self._sampler.bit_generator.state = state["sampler"]
        self._explorer.bit_generator.state = state["explorer"]
        self._returns = state["returns"]
        self._finished = list(state["finished"])
        self.logs.cut(state["logs"])
        if not self.cfg.offline:
            self._restore_env(state["env"])

    def _restore_env(self, snapshot: Mapping[str, Any]) -> None:
        self._obs = self.env.restore(snapshot)
        lost = np.array([int(row) for row, state in snapshot["rows"].items() if state is None])
        if len(lost):  # cannot snapshot: these rows have begun a new episode
            lost.sort()
            self._returns[lost] = 0
            self.controller.reset(lost)
            self.replay.start({name: value[lost] for name, value in self._obs.items()}, lost)

    def loop(self, show: Callable[[Progress], None]) -> bool:
        """Run until the last decision, or until `stop_requested`.

        Args:
            show: Called after every decision.

        Returns:
            Whether the run is finished; either way a checkpoint holds where it is.
        """
        steps = self.cfg.steps
        while self.counters.decisions < steps and not self.stop_requested:
            before = self.counters.decisions
            if self.cfg.offline:
                self._learn(1)
                self.counters.decisions += 1
            else:
                self._decide()
                self._learn(self._updates_due(before))
            after = self.counters.decisions
            begin = time.perf_counter()
            if _due(self.cfg.log_freq, before, after, steps):
                self._log()
            if _due(self.cfg.eval_freq, before, after, steps):
                self._evaluate()
            if _due(self.cfg.save_freq, before, after, steps):
                self.save()
            self.progress.evaluate_s += time.perf_counter() - begin
            show(self.progress)
        finished = self.counters.decisions >= steps
        if not finished:
            self.save()
        return finished

    def _decide(self) -> None:
        """One decision of every environment."""
        begin = time.perf_counter()
        if self.counters.decisions < self.cfg.seed_steps:
            shape = (self.cfg.num_envs, self.card.task.action_dim)
            action: FloatArray = self._explorer.uniform(-1, 1, shape).astype(np.float32)
        else:
            action = self.controller.act(self._obs, explore=True)
        step = self.env.step(action)
        self.replay.add(action, step)
        self._obs = step.obs
        self._returns += step.reward
        self.counters.decisions += self.cfg.num_envs
        for row in np.flatnonzero(step.ended):
            self._finish_episode(int(row))
        if step.ended.any():
            self.controller.reset(np.flatnonzero(step.ended))
        self.progress.collect_s += time.perf_counter() - begin

    def _finish_episode(self, row: int) -> None:
        self.progress.last_return = float(self._returns[row])
        self._finished.append(self.progress.last_return)
        self._returns[row] = 0
        if self.cfg.save_episodes is not None:
            episode = self.replay.finished_episode(row)
            if episode is not None:
                name = f"episode-{self.counters.episodes:06d}.safetensors"
                write_episode(Path(self.cfg.save_episodes) / name, episode, self.card.task.name)
        self.counters.episodes += 1

    def _updates_due(self, before: int) -> int:
        """Updates after the newest decisions: none among the random ones, many when they end."""
        cfg, after = self.cfg, self.counters.decisions
        if after < cfg.seed_steps or self.replay.num_samples == 0:
            return 0
        if before < cfg.seed_steps:
            return cfg.seed_steps if cfg.pretrain_updates is None else cfg.pretrain_updates
        self.counters.owed += (after - before) * cfg.updates_per_decision
        due = int(self.counters.owed)
        self.counters.owed -= due
        return due

    def _learn(self, updates: int) -> None:
        begin = time.perf_counter()
        self.learner.set_progress(self.counters.decisions / self.cfg.steps)
        for _ in range(updates):
            batch = self.replay.sample(self._sampler, self.cfg.learner.batch_size)
            self._metrics = self.learner.update(_to_device(batch, self.device))
            self.counters.updates += 1
        self.progress.update_s += time.perf_counter() - begin

    def _log(self) -> None:
        """One row of train.csv: the newest losses, and the episodes since the last row."""
        row: dict[str, float] = {name: float(v) for name, v in self._metrics.items()}
        if not all(math.isfinite(value) for value in row.values()):
            self._refuse_to_go_on()
        row["episode_reward"] = float(np.mean(self._finished)) if self._finished else math.nan
        self._finished.clear()
        self.logs.train(self.counters.decisions, self._env_steps, row)

    @property
    def _env_steps(self) -> int:
        """Environment steps with action repeat, as published curves count."""
        return self.counters.decisions * (1 if self.cfg.offline else self.card.task.action_repeat)

    def _evaluate(self) -> None:
        rollout = evaluate(
            self.model,
            self.card,
            episodes=self.cfg.eval_episodes,
            seed=self.cfg.seed,
            workers=self.cfg.workers,
        )
        self.progress.last_return = rollout.mean_reward
        self.logs.evaluation(self.counters.decisions, self._env_steps, rollout)

    def save(self) -> Path:
        """Write a checkpoint; `resume` from it goes on bit for bit.

        Raises:
            TrainingError: The weights are not finite; nothing is written.
            CheckpointError: No space is left; the last good checkpoint stays.
        """
        if not self.learner.weights_finite():
            self._refuse_to_go_on()
        last_return = self.progress.last_return
        training = {
            "learner": self.learner.state(),
            "controller": self.controller.state(),
            "env": {} if self.cfg.offline else self.env.snapshot(),
            "counters": vars(self.counters),
            "last_return": None if math.isnan(last_return) else last_return,
            "sampler": self._sampler.bit_generator.state,
            "explorer": self._explorer.bit_generator.state,
            "returns": self._returns,
            "finished": self._finished,
            "logs": self.logs.sizes(),
        }
        made = {**self.card.made, **vars(self.counters)}
        card = replace(self.card, made=made)
        return save_checkpoint(
            self.run, self.counters.decisions, self.model, card, training, self.chunks
        )

    def _refuse_to_go_on(self) -> None:
        raise TrainingError(
            f"losses or weights are not finite after {self.counters.updates} updates; the last "
            f"good checkpoint is kept in {self.run}. Lower learner.lr (now {self.cfg.learner.lr}) "
            "and resume from there"
        )

    def close(self) -> None:
        """End environments and logs."""
        self.env.close()
        self.logs.close()


def _due(freq: int, before: int, after: int, steps: int) -> bool:
    """Whether a multiple of `freq`, or the end, lies in (before, after]."""
    return after >= steps or (freq > 0 and after // freq > before // freq)


def _to_device(batch: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return batch
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.obs.items()}
    return type(batch)(moved, *(value.to(device, non_blocking=True) for value in batch[1:]))


def _recorded_rows(folder: Path, task: str) -> int:
    """Rows that the episodes of a folder take."""
    total = sum(len(episode.action) + 1 for episode in read_episodes(folder, task))
    if total == 0:
        raise ConfigError(f"data: expected episodes in {folder}, found none")
    return total
