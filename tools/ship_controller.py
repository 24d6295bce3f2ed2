"""Ship the median of several finished runs of one task: its weights, its card, all their curves.

    .venv/bin/python tools/ship_controller.py runs/final/walker-walk/seed1 .../seed2 .../seed3

Every run's last checkpoint is evaluated afresh (20 deterministic episodes); the one whose mean is
the median is copied to `assets/controllers/<task>/`, or to `<task>@<obs>/` where the task has one
that sees something else. The runs' own evaluations go to
`benchmarks/results/learning/<obs>/<task>.csv` and `.png`, beside published curves.

A run that was chosen from a sweep before is given alone, with the sweep's table of the task, which
then stands in the card; the sweep's own files hold the curves.

    .venv/bin/python tools/ship_controller.py runs/cheetah-run/seed-2 --among <table>.csv
"""

import argparse
import csv
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmrobot.app.config import load
from wmrobot.app.controllers import (
    KIND,
    SCHEMA,
    Card,
    find_controller,
    read_controller,
    save_controller,
    shipped_controllers,
)
from wmrobot.app.device import keep_freed_memory
from wmrobot.app.rollout import evaluate
from wmrobot.app.sweeping.anchors import read_anchors
from wmrobot.app.sweeping.comparison import compare
from wmrobot.app.sweeping.results import write_results
from wmrobot.app.sweeping.table import TaskRow, draw
from wmrobot.app.training.result import read_result
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.config import flatten, to_plain
from wmrobot.core.files import read_json, replace_folder, seal
from wmrobot.model.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent
EPISODES, SEED = 20, 1000


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished run and its evaluation."""

    run: Path
    model: WorldModel
    card: Card
    settings: dict[str, Any]
    summary: dict[str, Any]
    returns: list[float]
    successes: int | None

    @property
    def mean(self) -> float:
        """Mean return of the last checkpoint."""
        return float(np.mean(self.returns))


def main() -> int:
    """Evaluate, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--among", type=Path, help="a sweep's table that the one run is of")
    words = parser.parse_args()
    if words.among is not None and len(words.runs) != 1:
        parser.error(f"--among: expected one run, got {len(words.runs)}")
    keep_freed_memory()
    results = [measure(run) for run in words.runs]
    tasks = {result.card.task.name for result in results}
    if len(tasks) != 1:
        print(f"error: expected runs of one task, got {sorted(tasks)}", file=sys.stderr)
        return 2
    chosen = sorted(results, key=lambda result: result.mean)[(len(results) - 1) // 2]
    sweep = "" if words.among is None else describe_sweep(chosen, words.among)
    if not sweep:
        write_curves(results)
    target = ROOT / "assets" / "controllers" / shipped_name(chosen.card)
    target.parent.mkdir(parents=True, exist_ok=True)

    def write(folder: Path) -> None:
        save_controller(folder, chosen.model, chosen.card)
        (folder / "CARD.md").write_text(describe(chosen, results, sweep))
        seal(folder, {"kind": KIND, "schema": SCHEMA})

    replace_folder(target, write)
    print(describe(chosen, results, sweep))
    return 0


def shipped_name(card: Card) -> str:
    """What to call a controller: by its task, or apart from the one that the task has."""
    name = card.task.name
    there = shipped_controllers().get(name)
    if there is None or read_controller(there, torch.device("cpu"))[1].obs == card.obs:
        return name
    return f"{name}@{card.obs}"


def measure(run: Path) -> Result:
    """Evaluate the last checkpoint of one run."""
    model, card = read_controller(find_controller(task=None, run=str(run)), torch.device("cpu"))
    rollout = evaluate(model.eval(), card, episodes=EPISODES, seed=SEED)
    told = [episode.success for episode in rollout.episodes]
    return Result(
        run=run,
        model=model,
        card=card,
        settings=read_json(run / "run.json")["settings"],
        summary=read_json(run / "summary.json"),
        returns=[episode.reward for episode in rollout.episodes],
        successes=None if None in told else told.count(True),
    )


def command(result: Result) -> str:
    """The command line that trained it: what differs from the profile's settings."""
    settings = result.settings
    words = [f"task={settings['task']}", f"profile={settings['profile']}"]
    usual = dict(flatten(to_plain(load(TrainConfig, words))))
    given = {k: v for k, v in flatten(settings) if v != usual.get(k) and k != "run"}
    words += [f"{name}={value}" for name, value in given.items()]
    return f"wmrobot train {shlex.join(words)}"


def describe_sweep(chosen: Result, table: Path) -> str:
    """Where a run stands among those of its sweep: the last evaluation of each seed.

    Raises:
        ValueError: The run's own evaluations are not those of its seed in the table.
    """
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    told: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        told.setdefault(int(row["seed"]), []).append((float(row["step"]), float(row["reward"])))
    seed, own = int(chosen.settings["seed"]), read_result(chosen.run)
    if told.get(seed) != list(zip(own.steps.tolist(), own.rewards.tolist(), strict=True)):
        raise ValueError(
            f"expected the evaluations of seed {seed} in {table}, got those of another run"
        )
    lasts = ", ".join(f"seed {each}: {points[-1][1]:.1f}" for each, points in told.items())
    return (
        f"Seed {seed} has the median of its sweep, whose last evaluations are {lasts}\n"
        f"  (`{table}`).\n"
        "  It was run again to keep its weights, and every evaluation came out as before."
    )


def describe(chosen: Result, results: list[Result], sweep: str = "") -> str:
    """The card that people read; `sweep` says what a single run was chosen from."""
    spec, made = chosen.card.task, chosen.card.made
    rows = "\n".join(
        f"| {r.settings['seed']}{' (shipped)' if r is chosen else ''} | {r.mean:.1f} | "
        f"{min(r.returns):.1f} | "
        f"{'not told' if r.successes is None else f'{r.successes} of {EPISODES}'} | "
        f"{read_result(r.run).wall_clock_s[-1] / 60:.1f} |"
        for r in results
    )
    one = sweep or "The only run with these settings."
    chosen_among = one if len(results) == 1 else "Of all seeds below, the median is shipped."
    size = sum(p.numel() for p in chosen.model.parameters())
    return f"""# {spec.name}

A planner in a learned model of {size:,} parameters (profile `{chosen.settings["profile"]}`), for
{1 / spec.control_dt:.0f} decisions a second, observations `{chosen.card.obs}`.

    {command(chosen)}

- Trained for {chosen.summary["decisions"]:,} decisions ({chosen.summary["updates"]:,} updates), at
  commit `{made["commit"]}`, on {made["machine"]}, {made["threads"]} thread(s) of torch.
- {chosen_among}
- Returns are those of the last checkpoint over {EPISODES} deterministic episodes. Minutes are
  wall-clock.

| seed | mean return | lowest | successes | minutes |
|---|---|---|---|---|
{rows}
"""


def write_curves(results: list[Result]) -> None:
    """Evaluations during training of every run, as CSV and PNG."""
    first = results[0]
    told = "-told" if first.settings["learner"]["state_coef"] else ""  # the state, while it learned
    folder = ROOT / "benchmarks" / "results" / "learning" / f"{first.card.obs}{told}"
    folder.mkdir(parents=True, exist_ok=True)
    name, obs = first.card.task.name, first.card.obs
    curves = [read_result(result.run) for result in results]
    write_results(folder / f"{name}.csv", curves)
    anchors = read_anchors(ROOT / "benchmarks" / "anchors")
    published = anchors.reference(obs, name)
    row = TaskRow(
        task=name,
        obs=obs,
        profile=f"{first.settings['profile'] or 'none'}{', state told' if told else ''}",
        num_runs=len(results),
        num_failed=0,
        standing=compare(curves, published),
    )
    (folder / f"{name}.png").write_bytes(draw(row, curves, published, anchors.others(obs, name)))


if __name__ == "__main__":
    sys.exit(main())
