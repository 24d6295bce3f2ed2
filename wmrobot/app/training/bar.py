"""The live line of a training: how far it is, how fast it goes, where its time goes."""

import math
import sys
import time
from contextlib import suppress

from tqdm import tqdm

from wmrobot.app.training.progress import Progress
from wmrobot.app.training.trainer import Trainer


class Bar:
    """Decisions/s and ETA, the newest return, shares of time, and updates/s while it learns.

    Args:
        trainer: Whose line it is; call it after every decision, `learning` before every update,
            and `close` it.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._updates = trainer.counters.updates  # of earlier processes
        self._shown = time.monotonic()
        self._bar = tqdm(
            total=trainer.cfg.steps,
            initial=trainer.counters.decisions,
            unit=" updates" if trainer.cfg.offline else " decisions",
            desc=trainer.card.task.name.rpartition("/")[2],
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
            dynamic_ncols=True,
        )

    def __call__(self, progress: Progress) -> None:
        """Show where a run is; a terminal that has gone is no reason to end it."""
        self._shown = time.monotonic()
        self._bar.set_postfix_str(self._text(progress), refresh=False)
        with suppress(OSError):
            self._bar.update(progress.counters.decisions - self._bar.n)

    def learning(self, doing: str) -> None:
        """Say what it does while no decision is taken: thousands of updates may come at once."""
        now = time.monotonic()
        if now - self._shown > self._bar.mininterval:
            self._shown = now
            with suppress(OSError):
                self._bar.set_postfix_str(doing)

    def _text(self, progress: Progress) -> str:
        spent = progress.collect_s + progress.update_s + progress.evaluate_s
        if not spent:
            return ""
        made = progress.counters.updates - self._updates
        words = [  # a narrow terminal cuts off the last ones
            f"{progress.update_s / spent:.0%} learning",
            f"{progress.evaluate_s / spent:.0%} evaluating",
            f"{made / max(progress.update_s, 1e-9):.0f} updates/s",
        ]
        if math.isfinite(progress.last_return):
            words.insert(0, f"return {progress.last_return:.0f}")
        return ", ".join(words)

    def close(self) -> None:
        """Leave the line as it is."""
        with suppress(OSError):
            self._bar.close()
