"""A drive that the flight recorder wrote, as a recording to be looked at."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.core.errors import DataError
from wmrobot.runtime.driving.flight import read_flight
from wmrobot.runtime.robot import Phase, Rung
from wmrobot.view.drive_layout import STAGES, stages_ms, ticks
from wmrobot.view.hindsight import DISCOUNT, EARNED, RETURN_STEPS, Hindsight
from wmrobot.view.recorded.recording import Recording

"""Where a recording tells none."""
NOTHING = float("nan")
Row = Mapping[str, Any]


def is_flight(path: Path) -> bool:
    """Whether a file is one of the flight recorder's, and not a rollout."""
    if path.suffix == ".mcap":
        return True
    try:
        with zipfile.ZipFile(path) as file:
            return "about.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load_flight(path: Path) -> tuple[Recording, dict[str, str]]:
    """A recorded drive, and what its file remembers of it.

    Raises:
        RobotError: It is missing or damaged, or `mcap` is not installed.
        DataError: Its decisions are not what a drive tells.
    """
    about, rows = read_flight(path)
    try:
        return _make_recording(about, list(rows)), about
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path}: expected decisions of a drive, got something else ({what})"
        ) from None


def _make_recording(about: Mapping[str, str], rows: list[Row]) -> Recording:
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} decisions")
    stamps = np.array([row["time_ns"] for row in rows], np.int64)
    time = (stamps - stamps[0]) * 1e-9
    if (np.diff(time) <= 0).any():
        raise ValueError("times that do not rise")
    discount = float(about.get("discount", DISCOUNT))
    curves = _curves(rows, discount)
    action = np.array([row["command"] for row in rows], np.float64)
    names = json.loads(about["actuators"]) if "actuators" in about else ()
    return Recording(
        task=about["task"],
        control_dt=float(about.get("control_dt", np.median(np.diff(time)))),
        arrays={
            "time": time,
            **curves,
            **_poses(rows),
            **_plans(rows),
            "action": action,
            "episode": np.array([row["episode"] for row in rows], np.int64),
            "decision": np.array([row["decision"] for row in rows], np.int64),
            "stages_ms": np.array([[*stages_ms(row["taken_ms"]).values()] for row in rows]),
        },
        states=_words(rows),
        action_names=tuple(map(str, names)) or tuple(f"action {i}" for i in range(action.shape[1])),
        stages=STAGES,
    )


def _curves(rows: list[Row], discount: float) -> dict[str, np.ndarray]:
    """(T,) each; NaN where nothing is known."""
    hindsight = Hindsight()
    reward, expected, linked = [], [], []
    before: Row | None = None
    for row in rows:
        begins = hindsight.begins(int(row["episode"]))
        phase, decision = Phase[row["phase"]], int(row["decision"])
        if row["value"] is not None:
            hindsight.planned(phase, decision, int(row["lead"]), float(row["value"]))
        told = phase is Phase.RUNNING and decision > 0
        reward.append(float(row["reward"]) if told else NOTHING)
        value = hindsight.expected(decision - 1) if told else None
        expected.append(NOTHING if value is None else value)
        follows = before is not None and decision == int(before["decision"]) + 1
        linked.append(told and follows and not begins)
        before = row
    return {
        "reward": np.array(reward),
        "expected return": np.array(expected),
        EARNED: _earned(np.array(reward), np.array(expected), np.array(linked), discount),
        "planning": np.array([float(row["taken_ms"]["total"]) for row in rows]),
        "deadline": np.array([(row["due_ns"] - row["arrived_ns"]) * 1e-6 for row in rows]),
    }


def _earned(
    reward: np.ndarray, expected: np.ndarray, linked: np.ndarray, discount: float
) -> np.ndarray:
    """(T,) what was earned from each decision on: 20 rewards, and the expectation after them."""
    count = len(reward) - RETURN_STEPS
    earned = np.full(len(reward), NOTHING)
    if count <= 0:
        return earned
    total = discount**RETURN_STEPS * expected[RETURN_STEPS:]
    for step in range(RETURN_STEPS):
        total = total + discount**step * reward[step : step + count]
        total[~linked[step + 1 : step + 1 + count]] = NOTHING  # a reading between was lost
    earned[:count] = total
    return earned


def _poses(rows: list[Row]) -> dict[str, np.ndarray]:
    """`qpos` (T, P), the last one again where none was told; nothing where there never was one."""
    told = [row.get("pose") or None for row in rows]
    last = next((pose for pose in told if pose is not None), None)
    if last is None:
        return {}
    filled = [last := pose if pose is not None else last for pose in told]
    return {"qpos": np.array(filled, np.float64)}


def _plans(rows: list[Row]) -> dict[str, np.ndarray]:
    """The plan of each decision, NaN where there was none, and its distance from what was done."""
    first = next((row["plan"] for row in rows if row["plan"] is not None), None)
    if first is None:
        return {}
    blank = np.full(np.shape(first), np.nan)
    mean = [blank if row["plan"] is None else row["plan"] for row in rows]
    std = [blank if row.get("std") is None else row["std"] for row in rows]
    gap = [max(row["lead"] - 1, 0) if row["phase"] == Phase.RUNNING.name else 0 for row in rows]
    return {
        "plan_mean": np.array(mean, np.float64),
        "plan_std": np.array(std, np.float64),
        "plan_gap": np.array(gap, np.int64),
    }


def _words(rows: list[Row]) -> dict[str, list[str]]:
    """What is told of each decision in words."""
    counts = [tuple(map(int, row["ticks"])) if "ticks" in row else None for row in rows]
    words: dict[str, list[str]] = {
        "ladder": list(_rungs(rows, counts)),
        "robot": [f"{row['phase'].lower()}, episode {row['episode']}" for row in rows],
        "decision": [str(int(row["decision"])) for row in rows],
        "lead": [ticks(int(row["lead"])) for row in rows],
        "iterations": [str(int(row["iterations"])) for row in rows],
    }
    if None not in counts:
        words["misses"] = [
            f"{sum(count) - count[Rung.FRESH]} of {sum(count)} ticks had no fresh plan"
            for count in counts
            if count is not None
        ]
    if all("guard" in row for row in rows):
        words["guard"] = [
            ": ".join(filter(None, (row["guard"], row["guard_reason"]))) for row in rows
        ]
    return words


def _rungs(rows: list[Row], counts: list[tuple[int, ...] | None]) -> Iterable[str]:
    """Rung of the tick that each decision began with, the worst of those since the one before.

    Recordings of earlier versions lack the robot's own count: there it is what was sent.
    """
    before: tuple[int, ...] | None = None
    for row, count in zip(rows, counts, strict=True):
        if count is None:
            yield "" if row["rung"] == "NONE" else str(row["rung"])
            continue
        last = before or (0,) * len(Rung)
        new = [rung.name for rung in Rung if count[rung] > last[rung]]
        yield new[-1] if new else ""
        before = count
