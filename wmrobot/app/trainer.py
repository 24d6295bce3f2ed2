"""The training loop: act, remember, learn, evaluate, save; all of it can stop and go on anywhere.

The order is fixed: update k sees the data through decision k - 1, the planner the weights after
update k - 1.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from wmrobot.app.build import build_card, build_env, build_replay
from wmrobot.app.checkpoint import (
    ReplayChunks,
    read_training,
    refuse_another,
    save_checkpoint,
)
from wmrobot.app.collector import Collector
from wmrobot.app.compiling import Compilation
from wmrobot.app.controllers import (
    load_weights,
    locate_controller,
    make_controller,
    make_model,
    read_controller,
)
from wmrobot.app.diagnosis import glance
from wmrobot.app.divergence import refusal
from wmrobot.app.evaluation import evaluate
from wmrobot.app.logs import Logs
from wmrobot.app.progress import Counters, Progress
from wmrobot.app.recorded import deal
from wmrobot.app.rehearsal import rehearse
from wmrobot.app.replanning import Replanner
from wmrobot.app.schedule import is_due, updates_due
from wmrobot.app.settings import TrainConfig, settings_of_learning
from wmrobot.app.stopwatch import Stopwatch
from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import ObservationError
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.learn.learner import Learner
from wmrobot.learn.watch import Watch

if TYPE_CHECKING:
    from wmrobot.app.view_train import Watcher


_LOOKED_AT = 256  # subsequences of H + 1 stacks


class Trainer:
    """One run, from its settings or from its last checkpoint.

    Args:
        cfg: Settings.
        run: Folder of the run, locked by the caller.
        device: Where the model lives.
        made: Provenance to put on the card.
        watcher: Shows the run in a window; None shows it nowhere.

    Raises:
        DataError: The replay does not fit into memory, or recorded episodes are malformed.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        run: Path,
        device: torch.device,
        made: Mapping[str, Any],
        watcher: "Watcher | None" = None,
    ) -> None:
        self.cfg, self.run, self.device, self._watcher = cfg, run, device, watcher
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
        self.stopwatch, self.watch = Stopwatch(run), Watch()
        self.progress = Progress()
        self.collector = Collector(cfg, self.env, self.controller, self.replay, self.progress)
        self.replanner = self._make_replanner()
        self.stop_requested = False
        self._sampler = make_numpy_generator(cfg.seed, "replay")
        self._metrics: dict[str, Tensor] = {}

    def _make_replanner(self) -> Replanner | None:
        if self.replay.plans is None:
            return None
        generator = make_generator(self.cfg.seed, "replanner", self.device)
        planning = make_controller(self.model, self.card, generator, compiler=self.compilation)
        return Replanner(planning, self.replay, self.cfg.learner.replan_size)

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
            task, num_envs = self.card.task.name, self.cfg.num_envs
            for ring, episode in deal(Path(self.cfg.data), task, num_envs):
                self.replay.add_episode(episode, ring)
        if not self.cfg.offline:
            self.collector.begin()

    def _init_weights(self, init: str) -> None:
        folder = locate_controller(init)
        donor, _ = read_controller(folder, self.device)
        weights = {name: value.cpu().numpy() for name, value in donor.state_dict().items()}
        load_weights(self.model, weights, folder)
        self.learner.target_values.load_state_dict(self.model.values.state_dict())

    def resume(self, checkpoint: Path) -> None:
        """Go on exactly where a checkpoint of this run was saved.

        Raises:
            CheckpointError: It is altered, of another task, or of other settings.
        """
        state = read_training(checkpoint)
        model, card = read_controller(checkpoint, self.device)
        rows = {"num_rows": self.replay.num_rows}
        # what an older version had no setting for, it did as today's default does
        settings = settings_of_learning(build(TrainConfig, state["settings"]))
        refuse_another(checkpoint, "task", to_plain(card.task), to_plain(self.card.task))
        refuse_another(checkpoint, "settings", settings, settings_of_learning(self.cfg))
        refuse_another(checkpoint, "data", {"num_rows": state["num_rows"]}, rows)
        self.model.load_state_dict(model.state_dict())
        self.learner.load_state(state["learner"])
        self.controller.load_state(state["controller"])
        self.chunks.load(state["chunks"])
        if self.replanner:
            self.replanner.load_state(state["replanner"])
        self.progress.counters = Counters(**state["counters"])
        self.progress.last_return = float(state["last_return"])
        self._sampler.bit_generator.state = state["sampler"]
        self._metrics = {name: torch.tensor(value) for name, value in state["metrics"].items()}
        self.collector.load_state(state)
        self.stopwatch.go_on(self.counters.decisions)
        is_settled = self.counters.settled == self.counters.decisions
        self.logs.cut(state["logs"], purge_step=self._env_steps + is_settled)

    def rehearse(self) -> None:
        """Compile what the settings let be compiled, before the first decision."""
        cfg = self.cfg
        robots = {cfg.eval_episodes} if cfg.offline else {cfg.eval_episodes, cfg.num_envs}
        if self.replanner:
            robots.add(cfg.learner.replan_size)
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

    def loop(self, show: Callable[[Progress], None]) -> bool:
        """Run until the last decision, or until `stop_requested`.

        Args:
            show: Called after every decision.

        Returns:
            Whether the run is finished; either way a checkpoint holds where it is.
        """
        counters = self.counters
        while counters.settled < self.cfg.steps and not self.stop_requested:
            if counters.settled == counters.decisions:  # else a stop has left some work
                self._advance()
            self._settle()
            show(self.progress)
            if self._watcher is not None:
                self._watcher.beat()
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
        self._learn()  # while simulators that are processes, or a GPU, do theirs
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
            self._learn()  # at once: before the first plan, and where no decision follows
        begin = time.perf_counter()
        if not self.stop_requested and is_due(self.cfg.eval_freq, before, after, steps):
            self._evaluate()
        if self.stop_requested:  # learning or evaluation may be cut short: both go on later
            return
        if is_due(self.cfg.log_freq, before, after, steps):
            self._log()
        self.counters.settled = after
        if is_due(self.cfg.save_freq, before, after, steps):
            self.save()
        self.progress.evaluate_s += time.perf_counter() - begin

    def _decide(self) -> None:
        """Begin one decision of every environment."""
        begin = time.perf_counter()
        try:
            self.collector.decide()
        except ObservationError:
            if not self.learner.weights_finite():
                self._refuse_to_go_on()
            raise
        self.progress.collect_s += time.perf_counter() - begin

    def _learn(self) -> None:
        """Make the whole updates that are owed; a stop leaves the rest."""
        if self.replay.num_samples == 0 and not self.cfg.offline:
            return  # no window is whole yet: they are made when one is
        begin = time.perf_counter()
        self.learner.set_progress(self.counters.decisions / self.cfg.steps)
        if self.counters.owed >= 1 and self.counters.updates == 0:
            self._look()
        while self.counters.owed >= 1 and not self.stop_requested:
            rows, columns = self.replay.draw(self._sampler, self.cfg.learner.batch_size)
            batch = self.replay.gather(rows, columns).to(self.device)
            self._metrics = self.learner.update(batch)
            self.counters.owed -= 1
            self.counters.updates += 1
            if self.replanner and self.counters.updates % self.cfg.learner.replan_every == 0:
                self.replanner.replan(rows, columns, batch)
            self.watch.note(self._metrics, self.counters.updates)
        self.progress.update_s += time.perf_counter() - begin

    def _look(self) -> None:
        """Let the learner see, before the first update, what pictures are like; `init` knows."""
        if "rgb" in self.card.task.obs_shapes:
            generator = make_numpy_generator(self.cfg.seed, "pictures")
            drawn = self.replay.sample(generator, _LOOKED_AT).to(self.device)
            self.learner.look(drawn.obs, pictures=self.cfg.init is None)

    def _log(self) -> None:
        """One row of train.csv: the newest losses, and the episodes since the last row."""
        row: dict[str, float] = {name: float(v) for name, v in self._metrics.items()}
        if not all(math.isfinite(value) for value in row.values()):
            self._refuse_to_go_on()
        row["episode_reward"] = self.collector.take_mean_return()
        self.logs.train(self.counters.decisions, self._env_steps, row)
        if self._watcher is not None:
            self._watcher.train(self.counters.decisions, row)

    @property
    def _env_steps(self) -> int:
        """Environment steps with action repeat, as published curves count."""
        return self.counters.decisions * (1 if self.cfg.offline else self.card.task.action_repeat)

    def _evaluate(self) -> None:
        """One row of eval.csv; none where a stop cuts the evaluation short."""
        if not self.learner.weights_finite():
            self._refuse_to_go_on()
        rollout = evaluate(
            self.model,
            self.card,
            episodes=self.cfg.eval_episodes,
            seed=self.cfg.seed,
            workers=self.cfg.workers,
            stop=lambda: self.stop_requested,
            compiler=self.compilation,
            watch=lambda env: None if self._watcher is None else self._watcher.look(env),
        )
        if self.stop_requested:
            return
        self.progress.last_return = rollout.mean_reward
        self.logs.evaluation(self.counters.decisions, self._env_steps, rollout)
        self.stopwatch.mark(self.counters.decisions, self._env_steps, "evaluation")
        figures = glance(self.model, self.replay, self.controller, self.cfg.seed, self.device)
        self.logs.diagnostics(self._env_steps, figures)
        if self._watcher is not None:
            self._watcher.evaluation(self.counters.decisions, rollout)

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
            "learner": self.learner.state(),
            "controller": self.controller.state(),
            "replanner": self.replanner.state() if self.replanner else {},
            **self.collector.state(),
            "counters": vars(self.counters),
            "last_return": np.array(self.progress.last_return),  # may be NaN: no JSON
            "sampler": self._sampler.bit_generator.state,
            "metrics": {name: value.cpu().numpy() for name, value in self._metrics.items()},
            "logs": self.logs.sizes(),
        }
        made = {**self.card.made, **vars(self.counters)}
        card = replace(self.card, made=made)
        saved = save_checkpoint(
            self.run, self.counters.decisions, self.model, card, training, self.chunks
        )
        self.stopwatch.mark(self.counters.decisions, self._env_steps, "save")
        return saved

    def _refuse_to_go_on(self) -> NoReturn:
        updates, lr = self.counters.updates, self.cfg.learner.lr
        raise refusal(self.run, self.watch, updates=updates, lr=lr)

    def close(self) -> None:
        """End environments and logs."""
        self.env.close()
        self.logs.close()
