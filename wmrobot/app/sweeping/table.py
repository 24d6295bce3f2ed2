"""What a sweep tells: a table of tasks, a table of runs, and a plot for each task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmrobot.app.output import aligned
from wmrobot.app.reporting.plots import Curve, curve_png
from wmrobot.app.sweeping.anchors import Published
from wmrobot.app.sweeping.comparison import Standing
from wmrobot.app.sweeping.launcher import Outcome
from wmrobot.app.tables import write_rows
from wmrobot.app.training.result import Result, read_result
from wmrobot.core.spec import ObsMode

TASK_COLUMNS = (
    "task", "obs", "profile", "finished", "failed", "runs", "step", "mean", "low", "high",
    "reference", "reference_step", "percent", "step_to_95", "minutes_to_95", "minutes_a_run",
)  # fmt: skip
RUN_COLUMNS = ("task", "seed", "state", "step", "reward", "minutes", "reason")
BESIDE = ("BMPC", "DreamerV3", "MR.Q", "SimbaV2(utd2)", "SAC", "DrQ-v2")
"""Other methods that plots show, of those that were published."""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """One task of a sweep.

    Attributes:
        task: Its name.
        obs: What the robot sees.
        profile: Of its runs.
        num_runs: All of them.
        num_failed: Those that failed.
        standing: Where those that finished stand; None before the first has.
    """

    task: str
    obs: ObsMode
    profile: str
    num_runs: int
    num_failed: int
    standing: Standing | None

    def cells(self) -> tuple[str, ...]:
        """Texts, one a column of `TASK_COLUMNS`; empty where there is nothing to tell."""
        found = self.standing
        finished = 0 if found is None else len(found.returns)
        head = (self.task, self.obs, self.profile, finished, self.num_failed, self.num_runs)
        if found is None:
            return tuple(map(str, head)) + ("",) * (len(TASK_COLUMNS) - len(head))
        reached = found.reached
        low, high = found.interval[:, -1]
        told = (
            _number(found.steps[-1], 0),
            _number(found.mean[-1], 1),
            _number(low, 1),
            _number(high, 1),
            _number(found.reference, 1),
            _number(found.reference_step, 0),
            _number(found.percent, 1),
            "" if reached is None else _number(found.steps[reached], 0),
            "" if reached is None else _number(found.minutes[reached], 1),
            _number(found.minutes[-1], 1),
        )
        return (*map(str, head), *told)


def write_tables(out: Path, rows: Sequence[TaskRow], outcomes: Sequence[Outcome]) -> None:
    """Write `table.csv`, a row a task, and `runs.csv`, a row a run."""
    write_rows(out / "table.csv", TASK_COLUMNS, (row.cells() for row in rows))
    write_rows(out / "runs.csv", RUN_COLUMNS, map(_run_cells, _in_order(outcomes)))


def print_tables(rows: Sequence[TaskRow], outcomes: Sequence[Outcome], anchored: bool) -> None:
    """Print both tables."""
    _print(TASK_COLUMNS, [row.cells() for row in rows])
    print()
    _print(RUN_COLUMNS, [_run_cells(outcome) for outcome in _in_order(outcomes)])
    print(
        "\nmean over the seeds that finished; low and high: 95% interval of it, bootstrap over "
        "seeds\nreference: mean of TD-MPC2's seeds at the first published step at or after ours"
    )
    if not anchored:
        print("no anchors: name their folder by anchors=")
    elif lone := [r.task for r in rows if r.standing and r.standing.reference is None]:
        print(f"no anchors for {', '.join(lone)}")


def draw(
    row: TaskRow,
    results: Sequence[Result],
    published: Published | None,
    others: Mapping[str, Published],
) -> bytes:
    """Plot of one task: our seeds, mean and interval beside TD-MPC2's seeds and other methods."""
    last = max((result.steps[-1] for result in results if len(result.steps)), default=0)
    curves = []
    if published is not None:
        kept = published.steps <= max(last, published.mean_at(last)[0])
        steps, returns = published.steps[kept], published.returns[:, kept]
        curves.append(Curve(label="TD-MPC2", decisions=steps, returns=returns, reference=True))
    for name in (name for name in BESIDE if name in others):
        kept = others[name].steps <= others[name].mean_at(last)[0]
        steps, returns = others[name].steps[kept], others[name].returns[:, kept]
        curves.append(
            Curve(label=name, decisions=steps, returns=returns, reference=True, single=True)
        )
    own, found = f"wmrobot {row.profile}", row.standing
    for result in (result for result in results if not result.finished):
        label = f"{own}, seed {result.seed}, unfinished"
        curves.append(Curve(label=label, decisions=result.steps, returns=result.rewards[None]))
    if found is not None:
        band = found.interval if len(found.returns) > 1 else None
        curves.append(Curve(label=own, decisions=found.steps, returns=found.returns, band=band))
    return curve_png(curves, title=f"{row.task} ({row.obs})", x_label="environment steps")


def _in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda each: (each.run.task, each.run.seed))


def _run_cells(outcome: Outcome) -> tuple[str, ...]:
    run = outcome.run
    head = (run.task, str(run.seed), outcome.state)
    if run.state() == "new":
        return (*head, "", "", "", outcome.reason)
    result = read_result(run.folder)
    if not len(result.steps):
        return (*head, "0", "", "", outcome.reason)
    figures = (result.steps[-1], 0), (result.rewards[-1], 1), (result.wall_clock_s[-1] / 60, 1)
    return (*head, *(_number(value, digits) for value, digits in figures), outcome.reason)


def _number(value: float | None, digits: int) -> str:
    """A number as it is read; nothing where there is none."""
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of text; numbers to the right, words to the left."""
    cells = ([cell or "-" for cell in row] for row in rows)
    for line in aligned(columns, cells, left={"task", "obs", "profile", "state", "reason"}):
        print(line)
