"""Published returns to stand beside ours: whole curves of TD-MPC2, single points of others.

`tdmpc2_dmcontrol_curves.csv` has a row for each seed and evaluation, `methods_dmcontrol.csv` one
for each method and budget. Steps are environment steps with action repeat, as in our tables.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wmrobot.core.errors import DataError
from wmrobot.core.resources import PACKAGE
from wmrobot.core.spec import ObsMode

CURVES_FILE, METHODS_FILE = "tdmpc2_dmcontrol_curves.csv", "methods_dmcontrol.csv"
CURVES_COLUMNS = ("obs", "task", "step", "reward", "seed")
METHODS_COLUMNS = ("method", "obs", "task", "env_steps", "mean_return")
OBS: Mapping[ObsMode, str] = {"state": "state", "rgb": "pixels"}
"""What those files call what the robot sees."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One method on one task.

    Attributes:
        steps: (N,) environment steps of its evaluations, rising.
        returns: (S, N) return of each seed, or of their mean alone; NaN where it has none.
    """

    steps: np.ndarray
    returns: np.ndarray

    def mean_at(self, step: float) -> tuple[int, float]:
        """The first evaluation at or after a step, or else the last: its step, and seeds' mean."""
        index = min(int(np.searchsorted(self.steps, step)), len(self.steps) - 1)
        return int(self.steps[index]), float(np.nanmean(self.returns[:, index]))


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """All published returns, by what the robot sees and by task.

    Attributes:
        curves: TD-MPC2's.
        methods: Of each other method, its mean at some budgets.
    """

    curves: Mapping[tuple[str, str], Published] = field(default_factory=dict)
    methods: Mapping[tuple[str, str], Mapping[str, Published]] = field(default_factory=dict)

    def reference(self, obs: ObsMode, task: str) -> Published | None:
        """TD-MPC2's seeds; None where they are not published."""
        return self.curves.get((OBS.get(obs, obs), task))

    def others(self, obs: ObsMode, task: str) -> Mapping[str, Published]:
        """The other methods."""
        return self.methods.get((OBS.get(obs, obs), task), {})


def default_folder() -> Path | None:
    """Where a checkout has the anchors; None in an installed package."""
    folder = PACKAGE.parent / "benchmarks" / "anchors"
    return folder if folder.is_dir() else None


def read_anchors(folder: Path) -> Anchors:
    """Read both tables of a folder.

    Raises:
        DataError: One is missing, lacks a column, or holds something else than numbers.
    """
    curves: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for key, cells in _rows(folder / CURVES_FILE, CURVES_COLUMNS, ("step", "reward")):
        curves.setdefault(key[:2], []).append((key[2], *cells))
    points: dict[tuple[str, str], dict[str, list[tuple[str, float, float]]]] = {}
    for key, cells in _rows(folder / METHODS_FILE, METHODS_COLUMNS, ("env_steps", "mean_return")):
        points.setdefault(key[:2], {}).setdefault(key[2], []).append(("mean", *cells))
    return Anchors(
        curves={key: _published(rows) for key, rows in curves.items()},
        methods={
            key: {name: _published(rows) for name, rows in methods.items()}
            for key, methods in points.items()
        },
    )


def _rows(
    path: Path, columns: Sequence[str], numbers: tuple[str, str]
) -> Iterator[tuple[tuple[str, str, str], tuple[float, float]]]:
    """(obs, task, seed or method) and the two numbers of every row."""
    (third,) = {*columns} - {"obs", "task", *numbers}
    try:
        file = path.open(newline="", encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; anchors= takes the folder of {CURVES_FILE} and {METHODS_FILE}"
        ) from None
    with file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path}: expected the columns {', '.join(columns)}, got "
                f"{', '.join(reader.fieldnames or ()) or 'none'}; missing: {', '.join(missing)}"
            )
        for row in reader:
            try:
                step, reward = (float(row[name]) for name in numbers)
            except (TypeError, ValueError):
                raise DataError(
                    f"{path}, line {reader.line_num}: expected numbers for {numbers[0]} and "
                    f"{numbers[1]}, got {row[numbers[0]]!r} and {row[numbers[1]]!r}"
                ) from None
            yield (row["obs"], row["task"], row[third]), (step, reward)


def _published(rows: Sequence[tuple[str, float, float]]) -> Published:
    """From (seed, step, return) rows."""
    seeds = sorted({seed for seed, _, _ in rows})
    steps = sorted({step for _, step, _ in rows})
    returns = np.full((len(seeds), len(steps)), np.nan)
    for seed, step, reward in rows:
        returns[seeds.index(seed), steps.index(step)] = reward
    return Published(steps=np.array(steps), returns=returns)
