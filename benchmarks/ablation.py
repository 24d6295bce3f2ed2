"""Whether a setting is better than the default, by a rule that was fixed before any run.

    results=benchmarks/results/learning
    wmrobot sweep benchmarks/sweeps/ablation-plain.yaml jobs=2 out=$results/ablation-plain
    wmrobot sweep benchmarks/sweeps/ablation-plan.yaml jobs=2 out=$results/ablation-plan
    python benchmarks/ablation.py ablation-plain ablation-plan [results=$results]

The rule: two tasks that are not saturated, five seeds each, 50,000 environment steps. A setting is
on by default only if it improves with a probability of at least 0.95 and no task is worse by more
than 10%; otherwise it stays off and is called inconclusive. A bootstrap over five seeds is somewhat
too sure: of settings that change nothing, it finds 7.5% better (600 trials of equal normals), not
5%. Prints one JSON document.
"""

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.sweeping.comparison import RESAMPLES

ENOUGH, MOST_LOST = 0.95, 0.10
SEEDS = 5
RESULTS = Path(__file__).parent / "results" / "learning"

Returns = Mapping[str, np.ndarray]  # by task, one last return a seed


def read_returns(folder: Path) -> dict[str, np.ndarray]:
    """Return of each finished run of a sweep, by task, from its `runs.csv`."""
    found: dict[str, list[float]] = {}
    with (folder / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["state"] == "finished":
                found.setdefault(row["task"], []).append(float(row["reward"]))
    return {task: np.array(values) for task, values in found.items()}


def probability_of_improvement(ours: Returns, plain: Returns) -> float:
    """How sure it is that the setting is better: share of bootstrap draws in which it is.

    Each draw takes as many seeds as there are of each task and side, with replacement, and asks
    whether the mean over tasks of our mean over theirs is above 1. The same returns give the same
    probability.
    """
    random = np.random.default_rng(0)
    ratios = []
    for task in sorted(plain):
        means = [
            side[task][random.integers(len(side[task]), size=(RESAMPLES, len(side[task])))].mean(1)
            for side in (ours, plain)
        ]
        ratios.append(means[0] / means[1])
    return float((np.mean(ratios, axis=0) > 1).mean())


def judge(ours: Returns, plain: Returns) -> dict[str, Any]:
    """The rule, applied.

    Raises:
        ValueError: The sides are of different tasks, or seeds are missing.
    """
    if set(ours) != set(plain):
        raise ValueError(
            f"tasks: expected those of the default, {sorted(plain)}, got {sorted(ours)}"
        )
    for side in (ours, plain):
        for task, values in side.items():
            if len(values) != SEEDS:
                raise ValueError(f"{task}: expected {SEEDS} finished seeds, got {len(values)}")
    tasks = {
        task: {
            "default": [round(float(r), 1) for r in plain[task]],
            "setting": [round(float(r), 1) for r in ours[task]],
            "change_percent": round(100 * float(ours[task].mean() / plain[task].mean() - 1), 1),
        }
        for task in sorted(plain)
    }
    sure = probability_of_improvement(ours, plain)
    lost = max(1 - float(ours[task].mean() / plain[task].mean()) for task in plain)
    better = sure >= ENOUGH and lost <= MOST_LOST
    return {
        "tasks": tasks,
        "probability_of_improvement": round(sure, 3),
        "verdict": "on by default" if better else "inconclusive: stays off",
    }


def main(words: list[str]) -> int:
    """Compare two sweeps by name."""
    places = [word.removeprefix("results=") for word in words if word.startswith("results=")]
    names = [word for word in words if "=" not in word]
    if len(names) != 2 or len(names) + len(places) != len(words):
        print("usage: ablation.py <default> <setting> [results=folder]", file=sys.stderr)
        return 2
    results = Path(places[-1]) if places else RESULTS
    try:
        plain, ours = (read_returns(results / name) for name in names)
        told = judge(ours, plain)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"default": names[0], "setting": names[1], **told}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
