"""Training as it runs, end to end: `python benchmarks/online.py [seconds=30] [settings of train]`.

Plans, simulates, remembers and learns as `wmrobot train` does, in a folder that is thrown away.
Evaluations, checkpoints and the random decisions at the start are left out, and so are the first
rounds after them. Prints one JSON document: decisions a second over all environments, the time of
one round (a decision of each environment, and the updates that it asks for), and where it went.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from wmrobot.app.benchmarking.report import busy_warning, machine
from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.benchmarking.timing import summarise
from wmrobot.app.config import load
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.training.progress import Progress
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.config import to_plain

SEED_ROUNDS, WARM_UP = 100, 10
LONG = 10**9  # decisions: the clock ends the run, not their number


class Clocked:
    """Notes when each round was done, and stops the run when its time is up."""

    def __init__(self, trainer: Trainer, seconds: float) -> None:
        self._trainer, self._seconds = trainer, seconds
        self._rounds = 0
        self.moments: list[float] = []
        self.begin = Progress()

    def __call__(self, progress: Progress) -> None:
        """Called after every round."""
        self._rounds += 1
        if self._rounds < SEED_ROUNDS + WARM_UP:
            return
        if not self.moments:
            self.begin = replace(progress)
        self.moments.append(time.perf_counter())
        over = self.moments[-1] - self.moments[0] >= self._seconds and len(self.moments) > 5
        self._trainer.stop_requested = over


def measure(cfg: TrainConfig, seconds: float) -> dict[str, Any]:
    """Train for some seconds; the document."""
    device = pick_device(cfg.device)
    made = machine(device, set_threads(cfg.threads))
    if warning := busy_warning(made["load_average"]):
        print(warning, file=sys.stderr)
    keep_freed_memory()
    cfg = replace(
        cfg,
        steps=LONG,
        seed_steps=SEED_ROUNDS * cfg.num_envs,
        pretrain_updates=0,
        eval_freq=0,
        save_freq=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(cfg, Path(folder), device, made)
        try:
            trainer.begin()
            trainer.rehearse()
            clocked = Clocked(trainer, seconds)
            trainer.loop(clocked)
        finally:
            trainer.close()
    ends, last = clocked.moments, trainer.progress
    rounds = [b - a for a, b in pairwise(ends)]
    timing = summarise(rounds)
    return {
        "made": made,
        "settings": to_plain(cfg),
        "compiled": trainer.compilation.told,
        "rounds": vars(timing),
        "decisions_per_s": 1e3 * cfg.num_envs / timing.mean_ms,
        "share_of_time": {
            name: (getattr(last, name) - getattr(clocked.begin, name)) / (ends[-1] - ends[0])
            for name in ("collect_s", "update_s")
        },
    }


def main(words: list[str]) -> None:
    """Print the document."""
    seconds = [word for word in words if word.startswith("seconds=")]
    cfg = load(TrainConfig, [word for word in words if word not in seconds])
    budget = float(seconds[-1].partition("=")[2]) if seconds else 30.0
    print(json.dumps(measure(cfg, budget), indent=1))


if __name__ == "__main__":
    run_script(main, __doc__)
