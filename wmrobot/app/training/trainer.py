"""The training loop: act, remember, learn, evaluate, save; all of it can stop and go on anywhere.

The order is fixed: update k sees the data through decision k - 1, the planner the weights after
update k - 1. The loop stands beside what saves and resumes it: each line of one has its counterpart
in the other.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from wmrobot.app.compiling import Compilation
from wmrobot.app.controllers import (
    describe_sizes,
    load_weights,
    locate_controller,
    make_controller,
    make_model,
    read_controller,
)
from wmrobot.app.rollout import evaluate
from wmrobot.app.training.audience import Audience
from wmrobot.app.training.build import build_card, build_env, build_replay
from wmrobot.app.training.checkpoint import (
    ReplayChunks,
    read_training,
    refuse_another,
    refuse_another_device,
    save_checkpoint,
)
from wmrobot.app.training.collector import Collector
from wmrobot.app.training.divergence import refusal
from wmrobot.app.training.glance import glance
from wmrobot.app.training.lessons import Lessons
from wmrobot.app.training.logs import Logs
from wmrobot.app.training.progress import Counters, Progress
from wmrobot.app.training.recorded import remember
from wmrobot.app.training.rehearsal import rehearse
from wmrobot.app.training.replanning import Replanner
from wmrobot.app.training.schedule import doing, is_due, updates_due
from wmrobot.app.training.settings import TrainConfig, settings_of_learning
from wmrobot.app.training.stopwatch import Stopwatch
from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import CheckpointError, ObservationError
from wmrobot.core.random import make_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import is_same_task
from wmrobot.learn.learner import Learner

COMPILING = "compiling, a minute or more the first time"


class Trainer:
    """One run, from its settings or from its last checkpoint.

    Args:
        cfg: Settings.
        run: Folder of the run, locked by the caller.
        device: Where the model lives.
        made: Provenance to put on the card.
        audience: Whom it shows itself to.

    Raises:
        DataError: The replay does not fit into memory, or recorded episodes are malformed.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        run: Path,
        device: torch.device,
        made: Mapping[str, Any],
        audience: Audience | None = None,
    ) -> None:
        self.cfg, self.run, self.device = cfg, run, device
        self._audience = audience or Audience()
        self.env = build_env(cfg)
        try:
            self._build(made)
        except BaseException:
            self.env.close()
            raise

    def _build(self, made: Mapping[str, Any]) -> None:
        """All that stands on the environments: model, planner, replay, logs."""
        cfg, run, device = self.cfg, self.run, self.device
        self.card = build_card(cfg, self.env.task_spec, made)
        # layers draw their first weights from torch's global stream
        torch.manual_seed(derive_seed(cfg.seed, "weights"))
        self.model = make_model(self.card, device)
        updates = cfg.steps * (1 if cfg.offline else cfg.updates_per_decision)
        self.compilation = Compilation(cfg.compile, device, updates)
        self.learner = Learner(
            self.model,
            cfg.learner,
            make_generator(cfg.seed, "learner", device),
            self.compilation,
            state_dim=self.env.task_spec.obs_shapes["state"][0] if cfg.learner.state_coef else None,
        )
        self.controller = make_controller(
            self.model,
            self.card,
            make_generator(cfg.seed, "planner", device),
            compiler=self.compilation,
        )
        self.replay = build_replay(cfg, self.env.task_spec, device)
        self.chunks = ReplayChunks(run / "replay", self.replay)
        self.logs = Logs(run, cfg.wandb, to_plain(cfg))
        self.stopwatch, self.progress = Stopwatch(run), Progress()
        self.collector = Collector(cfg, self.env, self.controller, self.replay, self.progress)
        self.lessons = Lessons(
            cfg, self.learner, self.replay, self.progress, self._make_replanner()
        )
        self.stop_requested = False
        self._learning: Callable[[str], None] = lambda doing: None

    def _make_replanner(self) -> Replanner | None:
        if self.replay.plans is None:
            return None
        generator = make_generator(self.cfg.seed, "replanner", self.device)
        planning = make_controller(self.model, self.card, generator, compiler=self.compilation)
        return Replanner(planning, self.replay, self.cfg.learner.replan_size)

    def _is_stopped(self) -> bool:
        return self.stop_requested

    def _stops_learning(self) -> bool:
        """Asked before every update: there may be thousands at once, and a window waits."""
        words = doing(self.cfg, self.counters)
        self._audience.beat(words)
        self._learning(words)
        return self.stop_requested

    @property
    def counters(self) -> Counters:
        """Where the run is."""
        return self.progress.counters

    def begin(self) -> None:
        """Start from nothing but what `init` and `data` bring."""
        self.stopwatch.go_on(0)
        if self.cfg.init is not None:
            self._init_weights(self.cfg.init)
        if self.cfg.data is not None:
            remember(Path(self.cfg.data), self.card.task, self.replay)
        if not self.cfg.offline:
            self.collector.begin()

    def _init_weights(self, init: str) -> None:
        folder = locate_controller(init)
        donor, card = read_controller(folder, self.device)
        weights = {name: value.cpu().numpy() for name, value in donor.state_dict().items()}
        try:
            load_weights(self.model, weights, folder)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. init takes weights of the same sizes: expected those of "
                f"{describe_sizes(self.card)}, got those of {describe_sizes(card)}"
            ) from None
        self.learner.target_values.load_state_dict(self.model.values.state_dict())

    def resume(self, checkpoint: Path) -> None:
        """Go on exactly where a checkpoint of this run was saved.

        Raises:
            CheckpointError: It is altered, of another task, of other settings, or of a device of
                another kind.
        """
        state = read_training(checkpoint)
        model, card = read_controller(checkpoint, self.device)
        refuse_another_device(checkpoint, card.made.get("device"), self.device)
        rows = {"num_rows": self.replay.num_rows}
        # what an older version had no setting for, it did as today's default does
        settings = settings_of_learning(build(TrainConfig, state["settings"]))
        task, own = to_plain(card.task), to_plain(self.card.task)
        if is_same_task(card.task.name, self.card.task.name):  # its file may have moved since
            task["name"], settings["task"] = self.card.task.name, self.cfg.task
        task["action_bounds"] = task["action_bounds"] or own["action_bounds"]  # once not told
        refuse_another(checkpoint, "task", task, own)
        if settings["steps"] < self.cfg.steps:  # made longer since, and its rings with it
            settings["steps"] = self.cfg.steps
            state["num_rows"] = max(state["num_rows"], self.replay.num_rows)
        refuse_another(checkpoint, "settings", settings, settings_of_learning(self.cfg))
        refuse_another(checkpoint, "data", {"num_rows": state["num_rows"]}, rows)
        self.model.load_state_dict(model.state_dict())
        self.controller.load_state(state["controller"])
        self.chunks.load(state["chunks"])
        self.lessons.load_state(state)
        self.progress.counters = Counters(**state["counters"])
        self.progress.last_return = float(state["last_return"])
        self.collector.load_state(state)
        self.stopwatch.go_on(self.counters.decisions)
        is_settled = self.counters.settled == self.counters.decisions
        self.logs.cut(state["logs"], purge_step=self._env_steps + is_settled)

    def rehearse(self) -> None:
        """Compile what the settings let be compiled, before the first decision."""
        cfg = self.cfg
        robots = {cfg.eval_episodes} if cfg.offline else {cfg.eval_episodes, cfg.num_envs}
        if self.replay.plans is not None:
            robots.add(cfg.learner.replan_size)
        with self._audience.during(COMPILING) if self.compilation.on else nullcontext():
            rehearse(
                self.compilation,
                self.learner,
                self.card,
                self.env.task_spec,
                batch_size=cfg.learner.batch_size,
                robots=robots,
            )
        made = {**self.card.made, "compiled": self.compilation.on}
        self.card = replace(self.card, made=made)

    def loop(
        self,
        show: Callable[[Progress], None],
        learning: Callable[[str], None] = lambda doing: None,
    ) -> bool:
        """Run until the last decision, or until `stop_requested`.

        Args:
            show: Called after every decision.
            learning: Called before every update, with what the run is at.

        Returns:
            Whether the run is finished; either way a checkpoint holds where it is.
        """
        counters, self._learning = self.counters, learning
        while counters.settled < self.cfg.steps and not self.stop_requested:
            if counters.settled == counters.decisions:  # else a stop has left some work
                self._advance()
            self._settle()
            show(self.progress)
            self._audience.beat(doing(self.cfg, self.counters))
        finished = counters.settled >= self.cfg.steps
        if not finished:
            self.save()
        return finished

    def _advance(self) -> None:
        """Take the next decisions, make the updates that the last ones asked for, owe new ones."""
        if self.cfg.offline:
            self.counters.decisions += 1
            self.counters.owed += 1
            return
        if not self.collector.under_way:  # else a stop has left some updates
            self._decide()
        # while simulators that are processes, or a GPU, do theirs
        self.lessons.learn(self._stops_learning)
        if self.stop_requested and self.counters.owed >= 1:
            return
        before, begin = self.counters.decisions, time.perf_counter()
        self.collector.remember()
        self.counters.owed += updates_due(self.cfg, before, self.counters.decisions)
        self.progress.collect_s += time.perf_counter() - begin

    def _settle(self) -> None:
        """Evaluate, log and save as the newest decisions ask; a stop leaves the rest."""
        before, after, steps = self.counters.settled, self.counters.decisions, self.cfg.steps
        if self.cfg.offline or before < max(self.cfg.seed_steps, 1) or after >= steps:
            # at once: before the first plan, and where no decision follows
            self.lessons.learn(self._stops_learning)
        if self.stop_requested:  # learning may be cut short: it goes on later
            return
        begin = time.perf_counter()
        if is_due(self.cfg.eval_freq, before, after, steps) and not self._evaluate():
            return
        if is_due(self.cfg.log_freq, before, after, steps):
            self._log()
        self.counters.settled = after
        if is_due(self.cfg.save_freq, before, after, steps):
            self.save()
        self.progress.evaluate_s += self._seconds_since(begin)

    def _decide(self) -> None:
        """Begin one decision of every environment."""
        begin = time.perf_counter()
        try:
            self.collector.decide()
        except ObservationError:
            if not self.learner.weights_finite():
                self._refuse_to_go_on()
            raise
        self.progress.collect_s += self._seconds_since(begin)

    def _seconds_since(self, begin: float) -> float:
        """Time since `begin`, but for what a GPU was still learning in it: that is counted here."""
        seconds = time.perf_counter() - begin
        learning = self.lessons.lag.within(seconds)
        self.progress.update_s += learning
        return seconds - learning

    def _log(self) -> None:
        """One row of train.csv: the newest losses, and the episodes since the last row."""
        row: dict[str, float] = {name: float(v) for name, v in self.lessons.metrics.items()}
        if not all(math.isfinite(value) for value in row.values()):
            self._refuse_to_go_on()
        row["episode_reward"] = self.collector.take_mean_return()
        self.logs.train(self.counters.decisions, self._env_steps, row)
        self._audience.train(self.counters.decisions, row)

    @property
    def _env_steps(self) -> int:
        """Environment steps with action repeat, as published curves count."""
        return self.counters.decisions * (1 if self.cfg.offline else self.card.task.action_repeat)

    def _evaluate(self) -> bool:
        """One row of eval.csv; none, and False, where a stop cuts the evaluation short."""
        if not self.learner.weights_finite():
            self._refuse_to_go_on()
        rollout = evaluate(
            self.model,
            self.card,
            episodes=self.cfg.eval_episodes,
            seed=self.cfg.seed,
            workers=self.cfg.workers,
            stop=self._is_stopped,
            compiler=self.compilation,
            watch=self._audience.look,
        )
        if self.stop_requested:
            return False
        self.progress.last_return = rollout.mean_reward
        self.logs.evaluation(self.counters.decisions, self._env_steps, rollout)
        self.stopwatch.mark(self.counters.decisions, self._env_steps, "evaluation")
        with self._audience.during("measuring the model"):
            figures = glance(self.model, self.replay, self.controller, self.cfg.seed, self.device)
        self.logs.diagnostics(self._env_steps, figures)
        self._audience.evaluation(self.counters.decisions, rollout)
        return True

    def save(self) -> Path:
        """Write a checkpoint; `resume` from it goes on bit for bit.

        Raises:
            TrainingError: The weights are not finite; nothing is written.
            CheckpointError: No space is left; the last good checkpoint stays.
        """
        if not self.learner.weights_finite():
            self._refuse_to_go_on()
        training = {
            "settings": settings_of_learning(self.cfg),
            "num_rows": self.replay.num_rows,
            "controller": self.controller.state(),
            **self.lessons.state(),
            **self.collector.state(),
            "counters": vars(self.counters),
            "last_return": np.array(self.progress.last_return),  # may be NaN: no JSON
            "logs": self.logs.sizes(),
        }
        made = {**self.card.made, **vars(self.counters), "step": self._env_steps}
        card = replace(self.card, made=made)
        saved = save_checkpoint(
            self.run, self.counters.decisions, self.model, card, training, self.chunks
        )
        self.stopwatch.mark(self.counters.decisions, self._env_steps, "save")
        return saved

    def _refuse_to_go_on(self) -> NoReturn:
        updates, lr = self.counters.updates, self.cfg.learner.lr
        raise refusal(self.run, self.lessons.watch, updates=updates, lr=lr)

    def close(self) -> None:
        """End environments and logs."""
        self.env.close()
        self.logs.close()
