"""What a run came to, from its own logs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.tables import read_rows
from wmrobot.app.training.run_file import SUMMARY_FILE
from wmrobot.app.training.stopwatch import evaluation_times
from wmrobot.core.errors import CheckpointError, DataError
from wmrobot.core.files import read_json


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
    try:
        settings, made = stored["settings"], stored["made"]
    except KeyError as error:
        raise CheckpointError(f"{run / RUN_FILE}: expected {error}, found no such entry") from None
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


def _evaluations(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N,) and returns (N,) of `eval.csv`; a row without its end is being written.

    Of a step that is told twice, as early versions could where they were stopped, the last counts.
    """
    try:
        last = {float(r["step"]): float(r["episode_reward"]) for r in read_rows(path)}
    except (DataError, KeyError, ValueError):
        raise DataError(f"{path}: expected a step and a return in every row") from None
    return np.array([*last]), np.array([*last.values()])


def _machine(made: dict[str, Any]) -> str:
    """Processor, and GPU where it trained on one."""
    return ", ".join(filter(None, (made["machine"], made.get("gpu"))))
