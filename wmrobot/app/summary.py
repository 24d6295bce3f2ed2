"""`summary.json`: what a finished run came to."""

import sys
from pathlib import Path
from typing import Any

from wmrobot.app.pace import read_pace
from wmrobot.app.tables import read_rows
from wmrobot.app.training.result import read_result
from wmrobot.app.training.run_file import SUMMARY_FILE
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.files import write_json


def write_summary(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Write what the run came to, and where its time went in this process.

    Args:
        trainer: At its end.
        folder: Of the run.
        seconds: Of this process.
    """
    progress, counters = trainer.progress, trainer.counters
    rows = read_rows(folder / "eval.csv")
    pace = read_pace(
        folder,
        read_result(folder),
        task=trainer.card.task.name,
        obs=trainer.card.obs,
        decisions=counters.decisions,
        updates=counters.updates,
    )
    summary: dict[str, Any] = {
        "task": trainer.card.task.name,
        "decisions": counters.decisions,
        "updates": counters.updates,
        "episodes": counters.episodes,
        "last_evaluation": float(rows[-1]["episode_reward"]) if rows else None,
        "seconds": round(seconds, 2),
        "collect_s": round(progress.collect_s, 2),
        "update_s": round(progress.update_s, 2),
        "evaluate_s": round(progress.evaluate_s, 2),
        "pace": None if pace is None else pace.plain(),
        "made": trainer.card.made,
    }
    write_json(folder / SUMMARY_FILE, summary)
    if pace is not None:
        print(f"  {pace.words()}", file=sys.stderr)
