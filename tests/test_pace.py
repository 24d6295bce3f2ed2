"""How fast a run learned, from logs whose answers are known."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wmrobot.app import pace as module
from wmrobot.app.pace import Pace, read_pace
from wmrobot.app.sweeping.anchors import (
    CURVES_COLUMNS,
    CURVES_FILE,
    METHODS_COLUMNS,
    METHODS_FILE,
)
from wmrobot.app.training.result import read_result
from wmrobot.app.training.stopwatch import COLUMNS, TIMING_FILE
from wmrobot.core.files import write_json


def write_csv(path: Path, *rows: Sequence[object]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(autouse=True)
def anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TD-MPC2 had 780 and 820 after 100,000 steps, and more later."""
    folder = tmp_path / "anchors"
    folder.mkdir()
    rows = [
        ("state", "walker-walk", step, reward, seed)
        for step, returns in ((0, (10, 20)), (100_000, (780, 820)), (200_000, (900, 900)))
        for seed, reward in enumerate(returns)
    ]
    write_csv(folder / CURVES_FILE, CURVES_COLUMNS, *rows)
    write_csv(folder / METHODS_FILE, METHODS_COLUMNS)
    monkeypatch.setattr(module, "default_folder", lambda: folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 30,000 decisions in 10 minutes."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = {"seed": 1, "profile": "nano"}
    write_json(folder / "run.json", {"settings": settings, "made": {"machine": "m", "commit": "c"}})
    evaluations = ((20_000, 399.9, 150.0), (40_000, 400.0, 300.0), (60_000, 719.9, 598.0))
    write_csv(
        folder / "eval.csv",
        ("step", "episode_reward"),
        *((step, reward) for step, reward, _ in evaluations),
    )
    write_csv(
        folder / TIMING_FILE,
        COLUMNS,
        *((step // 2, step, "evaluation", seconds) for step, _, seconds in evaluations),
        (30_000, 60_000, "save", 600.0),
    )
    return folder


def read(run: Path, **changed: Any) -> Pace | None:
    told = {"task": "walker-walk", "obs": "state", "decisions": 30_000, "updates": 27_000}
    return read_pace(run, read_result(run), **(told | changed))


def test_rates_and_minutes_to_shares_of_the_reference(run: Path) -> None:
    pace = read(run)
    assert pace == Pace(
        minutes=10.0,
        decisions_per_s=50.0,
        updates_per_s=45.0,
        reference=800.0,
        reference_step=100_000,
        minutes_to={50: 5.0, 90: None},
    )
    assert dict(pace.figures()) == {
        "decisions/s": "50.0",
        "updates/s": "45.0",
        "minutes to 50% of TD-MPC2's 800": "5.0",
        "minutes to 90% of TD-MPC2's 800": "not reached",
    }
    assert pace.words() == (
        "10.0 min, 50.0 decisions/s, 45.0 updates/s; of the 800 that TD-MPC2 had after 100,000 "
        "environment steps: 50% after 5.0 min, 90% not reached"
    )
    assert pace.plain()["minutes_to"] == {"50": 5.0, "90": None}


def test_without_a_published_return_the_rates_are_told_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "10.0 min, 50.0 decisions/s, 45.0 updates/s"
    for changed in ({"task": "qube2-swingup"}, {"obs": "state+rgb"}):
        pace = read(run, **changed)
        assert pace is not None
        assert (pace.words(), pace.minutes_to) == (expected, {})
    monkeypatch.setattr(module, "default_folder", lambda: None)  # as in an installed package
    pace = read(run)
    assert pace is not None
    assert pace.words() == expected


def test_an_evaluation_after_the_checkpoint_is_not_counted(run: Path) -> None:
    pace = read(run, decisions=20_000, updates=18_000)  # there after 300 s
    assert pace is not None
    assert (pace.minutes, pace.decisions_per_s) == (5.0, pytest.approx(20_000 / 300))


def test_a_run_without_decisions_or_times_tells_none(run: Path) -> None:
    settings = {"seed": 1, "profile": "nano", "offline": True}
    write_json(run / "run.json", {"settings": settings, "made": {"machine": "m", "commit": "c"}})
    pace = read(run)
    assert pace is not None
    assert pace.words() == "10.0 min, 45.0 updates/s"  # its steps are no environment steps
    (run / TIMING_FILE).unlink()
    assert read(run) is None
