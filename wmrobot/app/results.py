"""What a run came to, from its own logs, and the tables of raw results that it is kept in."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.stopwatch import evaluation_times
from wmrobot.app.train import SUMMARY_FILE
from wmrobot.core.errors import DataError
from wmrobot.core.files import make_folder, read_json, write_atomic

COLUMNS = ("step", "reward", "seed", "profile", "machine", "wall_clock_s", "commit")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The evaluations of one run, finished or not.

    Attributes:
        seed: Its seed.
        profile: Its profile; `none` without one.
        machine: What it ran on.
        commit: Of the code.
        steps: (N,) environment steps of its evaluations.
        rewards: (N,) mean return of each.
        wall_clock_s: (N,) seconds of training until then [s]; NaN where not told.
        finished: Whether it has come to its end.
        offline: Whether its steps are updates on recorded episodes.
    """

    seed: int
    profile: str
    machine: str
    commit: str
    steps: np.ndarray
    rewards: np.ndarray
    wall_clock_s: np.ndarray
    finished: bool
    offline: bool = False


def read_result(run: Path) -> Result:
    """Read a run's own logs.

    A run from before times were kept tells only how long all of it took.

    Raises:
        CheckpointError: It has no readable `run.json`.
        DataError: Its `eval.csv` is malformed.
    """
    stored = read_json(run / RUN_FILE)
    settings, made = stored["settings"], stored["made"]
    steps, rewards = _evaluations(run / "eval.csv")
    times = evaluation_times(run)
    seconds = np.array([times.get(int(step), np.nan) for step in steps])
    finished = (run / SUMMARY_FILE).exists()
    if finished and not times and len(seconds):
        seconds[-1] = read_json(run / SUMMARY_FILE)["seconds"]
    return Result(
        seed=settings["seed"],
        profile=settings["profile"] or "none",
        machine=_machine(made),
        commit=made["commit"] or "unknown",
        steps=steps,
        rewards=rewards,
        wall_clock_s=seconds,
        finished=finished,
        offline=settings.get("offline", False),
    )


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Put the rows of some runs into a task's table.

    Rows of other profiles and seeds that the table holds already stay.

    Raises:
        DataError: The table is not one of raw results.
    """
    own = {(result.profile, str(result.seed)) for result in results}
    kept = [row for row in _read(path) if (row[3], row[2]) not in own]
    rows = [cells for result in results for cells in _rows(result)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept, *rows])
    make_folder(path.parent)
    write_atomic(path, text.getvalue().encode())


def _rows(result: Result) -> list[list[object]]:
    facts = [result.seed, result.profile, result.machine]
    return [
        [int(step), f"{reward:.6g}", *facts, "" if np.isnan(s) else round(s, 2), result.commit]
        for step, reward, s in zip(result.steps, result.rewards, result.wall_clock_s, strict=True)
    ]


def _read(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(
            f"{path}: expected the columns {','.join(COLUMNS)}, got {','.join(header) or 'none'}; "
            "choose another out=, or move the file away"
        )
    return rows


def _evaluations(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N,) and returns (N,) of `eval.csv`; a row without its end is being written."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        rows = [tuple(map(float, line.split(","))) for line in text.split("\n")[1:-1]]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 2)
    except ValueError:
        raise DataError(f"{path}: expected a step and a return in every row") from None
    return table[:, 0], table[:, 1]


def _machine(made: dict[str, Any]) -> str:
    """Processor, and GPU where it trained on one."""
    return ", ".join(filter(None, (made["machine"], made.get("gpu"))))
