"""What a run learns from what it lived through: updates drawn from its replay, as they fall due."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wmrobot.app.training.lag import Lag
from wmrobot.app.training.progress import Progress
from wmrobot.app.training.replanning import Replanner
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.random import make_numpy_generator
from wmrobot.data.replay import Replay
from wmrobot.learn.learner import Learner
from wmrobot.learn.watch import Watch

_LOOKED_AT = 256  # subsequences of H + 1 stacks


class Lessons:
    """See the module's text.

    Args:
        cfg: Settings of the run.
        learner: Makes the updates.
        replay: What they are drawn from.
        progress: Where the run is: how many updates are owed is read and written there.
        replanner: Keeps the plans of the replay young; None where it keeps none.

    Attributes:
        metrics: Figures of the newest update.
        lag: Tells how long the device learns on.
        watch: Remembers which figure broke first.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        learner: Learner,
        replay: Replay,
        progress: Progress,
        replanner: Replanner | None,
    ) -> None:
        self._cfg, self._learner, self._replay = cfg, learner, replay
        self._progress, self._replanner = progress, replanner
        self._sampler = make_numpy_generator(cfg.seed, "replay")
        self._device = learner.generator.device
        self.metrics: dict[str, Tensor] = {}
        self.watch, self.lag = Watch(), Lag(self._device)

    def learn(self, stopped: Callable[[], bool]) -> None:
        """Make the whole updates that are owed; a stop leaves the rest."""
        if self._replay.num_samples == 0 and not self._cfg.offline:
            return  # no window is whole yet: they are made when one is
        counters, begin = self._progress.counters, time.perf_counter()
        self._learner.set_progress(counters.decisions / self._cfg.steps)
        if counters.owed >= 1 and counters.updates == 0:
            self._look()
        while counters.owed >= 1 and not stopped():
            rows, columns = self._replay.draw(self._sampler, self._cfg.learner.batch_size)
            batch = self._replay.gather(rows, columns).to(self._device)
            self.metrics = self._learner.update(batch)
            counters.owed -= 1
            counters.updates += 1
            if self._replanner and counters.updates % self._cfg.learner.replan_every == 0:
                self._replanner.replan(rows, columns, batch)
            self.watch.note(self.metrics, counters.updates)
        self.lag.handed_over()
        self._progress.update_s += time.perf_counter() - begin

    def _look(self) -> None:
        """Let the learner see, before the first update, what pictures are like; `init` knows."""
        if "rgb" in self._cfg.obs:
            generator = make_numpy_generator(self._cfg.seed, "pictures")
            drawn = self._replay.sample(generator, _LOOKED_AT).to(self._device)
            self._learner.look(drawn.obs, pictures=self._cfg.init is None)

    def state(self) -> dict[str, Any]:
        """What the next update depends on besides weights and replay, as a tree."""
        return {
            "learner": self._learner.state(),
            "replanner": self._replanner.state() if self._replanner else {},
            "sampler": self._sampler.bit_generator.state,
            "metrics": {name: value.cpu().numpy() for name, value in self.metrics.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; model and replay are there again."""
        self._learner.load_state(state["learner"])
        if self._replanner:
            self._replanner.load_state(state["replanner"])
        self._sampler.bit_generator.state = state["sampler"]
        self.metrics = {name: torch.tensor(value) for name, value in state["metrics"].items()}
