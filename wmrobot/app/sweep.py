"""`wmrobot sweep`: tasks x seeds of `train`, some at a time, beside published returns."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from wmrobot.app.output import output_folder
from wmrobot.app.sweeping.anchors import Anchors, default_folder, read_anchors
from wmrobot.app.sweeping.comparison import compare
from wmrobot.app.sweeping.launcher import INTERRUPTED, Launcher, Outcome
from wmrobot.app.sweeping.plan import Run, list_runs, read_plan
from wmrobot.app.sweeping.results import write_results
from wmrobot.app.sweeping.table import TaskRow, draw, print_tables, write_tables
from wmrobot.app.training.result import read_result
from wmrobot.core.errors import ConfigError, TaskError, TrainingError
from wmrobot.core.files import user_path
from wmrobot.core.machine import cores
from wmrobot.core.spec import file_name


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `sweep`.

    Attributes:
        file: YAML with `tasks`, `seeds`, `settings` (words of `train` for all runs) and
            `task_settings` (further words by task).
        jobs: Runs at a time; 0 begins none and writes the tables of what is there.
        runs: Folder of the runs; null takes runs/<name of the file>. The same folder again goes on
            where the sweep was stopped.
        out: Folder for tables and plots; null takes `results` below `runs`.
        anchors: Folder of published returns; null takes the checkout's own, where there is one.
    """

    file: str
    jobs: int = 1
    runs: str | None = None
    out: str | None = None
    anchors: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 0:
            raise ConfigError(f"jobs: expected at least 0, got {self.jobs}")


def run(cfg: Config, *, json: bool = False) -> int:
    """Run what is left of a sweep and write its tables; 130 where it was interrupted.

    Raises:
        TrainingError: A run failed; the others have been run all the same.
    """
    file = user_path(cfg.file)
    folder = user_path(cfg.runs or f"runs/{file.stem}")
    anchors = _anchors(cfg.anchors)
    plan = read_plan(file)
    try:
        runs = list_runs(plan, folder)
    except (ConfigError, TaskError) as error:
        raise ConfigError(f"{file}: {error}") from error
    for each in runs:
        each.refuse_another()
    out = output_folder("out", cfg.out or str(folder / "results"))
    told = {each.folder: _found(each) for each in runs}
    for outcome in launch(Launcher(cfg.jobs), runs) if cfg.jobs else ():
        told[outcome.run.folder] = outcome
        write_all(list(told.values()), anchors, out)  # a long sweep is looked at on its way
    outcomes = list(told.values())
    rows = write_all(outcomes, anchors, out)
    print_tables(rows, outcomes, bool(anchors.curves))
    print(f"tables and plots: {out}")
    failed = [each for each in outcomes if each.state == "failed"]
    if any(each.state in ("interrupted", "waiting") for each in outcomes) and cfg.jobs:
        print("stopped; go on with the same command", file=sys.stderr)
        return INTERRUPTED
    if failed:
        first = failed[0]
        raise TrainingError(
            f"{len(failed)} of {len(runs)} runs failed; the first is {first.run.folder}: "
            f"{first.reason}"
        )
    return 0


def launch(launcher: Launcher, runs: Sequence[Run]) -> Iterator[Outcome]:
    """Train all runs, tell of each one that ends, and hand out the outcomes."""
    threads = max(cores() // launcher.jobs, 1)
    is_told = bool(os.environ.get("OMP_NUM_THREADS"))  # each run takes it by itself
    left = list(runs) if is_told else [each.with_threads(threads) for each in runs]
    done = sum(each.state() == "finished" for each in runs)
    print(f"{len(runs)} runs, {done} finished before, {launcher.jobs} at a time", file=sys.stderr)
    with launcher.stopping_on_signals():
        for number, outcome in enumerate(launcher.launch(left), start=1):
            told = f"  [{number}/{len(runs)}] {outcome.run.task}, seed {outcome.run.seed}: "
            reason = f" ({outcome.reason})" if outcome.reason else ""
            print(f"{told}{outcome.state}{reason}", file=sys.stderr, flush=True)
            yield outcome


def write_all(outcomes: Sequence[Outcome], anchors: Anchors, out: Path) -> list[TaskRow]:
    """Write raw results, plots and tables of everything that lies in the runs' folders."""
    rows = []
    ordered = sorted(outcomes, key=lambda each: (each.run.task, each.run.seed))
    for task, group in groupby(ordered, key=lambda each: each.run.task):
        mine = list(group)
        settings = mine[0].run.settings
        results = [read_result(each.run.folder) for each in mine if each.run.state() != "new"]
        # offline, steps are updates: nothing that was published is told by them
        published = None if settings.offline else anchors.reference(settings.obs, task)
        others = {} if settings.offline else anchors.others(settings.obs, task)
        row = TaskRow(
            task=task,
            obs=settings.obs,
            profile=settings.profile or "none",
            num_runs=len(mine),
            num_failed=sum(each.state == "failed" for each in mine),
            standing=compare(results, published),
        )
        rows.append(row)
        if results:
            name = file_name(task)
            write_results(out / settings.obs / f"{name}.csv", results)
            picture = draw(row, results, published, others)
            (out / settings.obs / f"{name}-{row.profile}.png").write_bytes(picture)
    write_tables(out, rows, outcomes)
    return rows


def _found(run: Run) -> Outcome:
    """What is there of a run before it is begun or gone on with."""
    match run.state():
        case "finished":
            return Outcome(run=run, state="finished")
        case "begun":
            return Outcome(run=run, state="unfinished")
        case "new":
            return Outcome(run=run, state="waiting")


def _anchors(folder: str | None) -> Anchors:
    """Published returns; none where nobody told any and the checkout's are not there."""
    place = default_folder() if folder is None else user_path(folder)
    return Anchors() if place is None else read_anchors(place)
