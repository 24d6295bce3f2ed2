"""A training process killed at a chosen instant: `killed_run.py <run> <instant> [word ...]`.

An instant is a decision, an update, or a step of writing a file: before its bytes are whole, once
they are, before it is renamed, cut or deleted. They are counted from 1; 0 kills nothing.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wmrobot.app import train
from wmrobot.app.config import load
from wmrobot.app.training.settings import TrainConfig
from wmrobot.envs.vector import VectorEnv
from wmrobot.learn.learner import Learner


class Executioner:
    """Counts instants and kills this very process at one of them."""

    def __init__(self, instant: int) -> None:
        self.left = instant

    def passes(self, last_words: Callable[[], None] = lambda: None) -> None:
        self.left -= 1
        if self.left == 0:
            last_words()
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            self.passes()
            return original(*args, **options)

        setattr(owner, name, watched)

    def watch_writing(self) -> None:
        """Kill with half of a new file written, or a row lacking its end, as a full pipe would."""
        original = os.fsync

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            size = os.fstat(descriptor).st_size
            left = size - 3 if path.suffix == ".csv" else size // 2
            self.passes(lambda: None if path.is_dir() else os.ftruncate(descriptor, left))
            original(descriptor)
            self.passes()

        os.fsync = fsync


def main() -> None:
    run, instant, *words = sys.argv[1:]
    executioner = Executioner(int(instant))
    for owner, name in (
        (VectorEnv, "step"), (Learner, "update"), (Path, "replace"), (Path, "rename"),
        (Path, "unlink"), (os, "truncate"),
    ):  # fmt: skip
        executioner.watch(owner, name)
    executioner.watch_writing()
    is_begun = (Path(run) / train.RUN_FILE).exists()
    cfg = load(TrainConfig, [f"resume={run}"] if is_begun else [*words, f"run={run}"])
    finished, _ = train.train(cfg)
    assert finished


if __name__ == "__main__":
    main()
