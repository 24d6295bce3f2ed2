"""Whether a setting is better than the default, by a rule that was fixed before any run.

    results=benchmarks/results/learning
    wmrobot sweep benchmarks/sweeps/ablation-plain.yaml jobs=2 out=$results/ablation-plain
    wmrobot sweep benchmarks/sweeps/ablation-plan.yaml jobs=2 out=$results/ablation-plan
    python benchmarks/ablation.py ablation-plain ablation-plan [results=$results]

The rule: two tasks that are not saturated, five seeds each, 50,000 environment steps. A setting is
on by default only if it improves with a probability of at least 0.95 and no task is worse by more
than 10%; otherwise it stays off and is called inconclusive. Of settings that change nothing it
finds 5% better (3,000 trials of equal normals). Prints one JSON document.
"""

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.sweeping.comparison import RESAMPLES

ENOUGH, MOST_LOST = 0.95, 0.10
SEEDS, STEPS = 5, 50_000
RESULTS = Path(__file__).parent / "results" / "learning"

Returns = Mapping[str, Mapping[int, float]]  # by task and seed, the last one of a run


def read_returns(folder: Path) -> dict[str, dict[int, float]]:
    """Return of each finished run of a sweep, from its `runs.csv`.

    Raises:
        ValueError: One is longer or shorter than the rule's.
    """
    found: dict[str, dict[int, float]] = {}
    with (folder / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["state"] != "finished":
                continue
            if int(row["step"]) != STEPS:
                raise ValueError(
                    f"{folder}: {row['task']}, seed {row['seed']}: expected a run of {STEPS:,} "
                    f"environment steps, got {int(row['step']):,}"
                )
            found.setdefault(row["task"], {})[int(row["seed"])] = float(row["reward"])
    return found


def probability_of_improvement(ours: Returns, plain: Returns) -> float:
    """How sure it is that the setting is better: share of bootstrap draws in which it is.

    Each draw takes as many seeds as there are of each task and side, with replacement, and asks
    whether the geometric mean over tasks of our mean over theirs is above 1: one task's gain of a
    half weighs as much as the other's loss of a third. The same returns give the same probability.
    """
    random = np.random.default_rng(0)
    logs = []
    for task in sorted(plain):
        means = [_resampled_means(_as_array(side[task]), random) for side in (ours, plain)]
        logs.append(np.log(means[0]) - np.log(means[1]))
    return float((np.mean(logs, axis=0) > 0).mean())


def _resampled_means(returns: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Means (RESAMPLES,) of draws with replacement, as far apart as means of n returns are.

    The draws alone are too close by sqrt((n - 1) / n), as a variance that is divided by n is. Means
    stay above zero, for their logarithm.
    """
    count, mean = len(returns), returns.mean()
    drawn = returns[random.integers(count, size=(RESAMPLES, count))].mean(axis=1)
    wider: np.ndarray = mean + (drawn - mean) * np.sqrt(count / (count - 1))
    return wider.clip(min=1e-9)


def judge(ours: Returns, plain: Returns) -> dict[str, Any]:
    """The rule, applied.

    Raises:
        ValueError: The sides are of different tasks or seeds, or of fewer than the rule's.
    """
    if set(ours) != set(plain):
        raise ValueError(
            f"tasks: expected those of the default, {sorted(plain)}, got {sorted(ours)}"
        )
    for side in (ours, plain):
        for task, values in side.items():
            if len(values) != SEEDS:
                raise ValueError(f"{task}: expected {SEEDS} finished seeds, got {len(values)}")
    for task, values in plain.items():
        if set(values) != set(ours[task]):
            raise ValueError(
                f"{task}: expected the seeds of the default, {sorted(values)}, got "
                f"{sorted(ours[task])}"
            )
    change = {task: _as_array(ours[task]).mean() / _as_array(plain[task]).mean() for task in plain}
    tasks = {
        task: {
            "default": [round(plain[task][seed], 1) for seed in sorted(plain[task])],
            "setting": [round(ours[task][seed], 1) for seed in sorted(ours[task])],
            "change_percent": round(100 * float(change[task] - 1), 1),
        }
        for task in sorted(plain)
    }
    sure = probability_of_improvement(ours, plain)
    better = sure >= ENOUGH and min(change.values()) >= 1 - MOST_LOST
    return {
        "tasks": tasks,
        "probability_of_improvement": round(sure, 3),
        "verdict": "on by default" if better else "inconclusive: stays off",
    }


def _as_array(returns: Mapping[int, float]) -> np.ndarray:
    return np.array([returns[seed] for seed in sorted(returns)])


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
    run_script(main, __doc__)
