"""Recorded plans made again: what differs, what has changed, and what is of another planner."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_drive import decision, reading
from wmrobot.app.cli import main
from wmrobot.app.driving.replay import describe_bundle
from wmrobot.runtime.driving.flight import Recorder, read_flight
from wmrobot.runtime.driving.replay import replay
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.planning.anytime import Start, draw, search
from wmrobot.runtime.planning.planner import nothing_planned
from wmrobot.runtime.planning.stages import Stages


def record(folder: Path, bundle: Path, *shifts: float, **about: str) -> Path:
    """A recording of plans, the first action of each shifted by so much after it was made."""
    stages = Stages.load(bundle)
    recorder = Recorder(folder, {**describe_bundle(bundle), **about})
    previous = nothing_planned(stages.description, 1)
    for seed, shift in enumerate(shifts):
        start = Start(
            state=np.array([[0.5, -9.5, seed]], np.float32),
            committed=np.full((seed, 1), 0.3, np.float32),
            noise_seed=seed,
            previous=previous,
            decisions=1,
        )
        plan, _ = search(stages, start, draw(stages.description, seed), lambda done: False)
        previous = plan.as_previous()
        mean = plan.mean.copy()
        mean[0, 0] += np.float32(shift)
        made = replace(decision(0.0), start=start, plan=plan._replace(mean=mean), iterations=1)
        recorder.add(reading(), made, 7, 8)
    recorder.add(reading(), decision(0.0, fresh=False), 7, 8)
    recorder.close()
    return recorder.path


def test_a_plan_that_differs_is_counted_and_is_an_exit_code(
    cart_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path, cart_bundle, 0.0, 1e-3)
    assert main(["drive", f"replay={path}", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["decisions"], found["plans"], found["within"]) == (3, 2, 1)
    assert found["largest_difference"] == pytest.approx(1e-3, rel=1e-3)
    assert found["changed_since"] == {}


def test_what_has_changed_since_a_drive_is_said(
    cart_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path, cart_bundle, 0.0, 0.0, numpy="0.1")
    assert main(["drive", f"replay={path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changed_since"] == {"numpy": {"then": "0.1", "now": np.__version__}}
    assert found["within"] == found["plans"] == 2
    assert main(["drive", f"replay={path}"]) == 0
    assert f"not as recorded: numpy was 0.1, is {np.__version__}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"plan": [[0.0]]}, r"plan: expected shape \(3, 1\), recorded was \(1, 1\); replay with"),
        ({"state": [0.0]}, "state: expected 3 entries, and .*; replay with the bundle that drove"),
        ({"previous": [[0.0, 0.0]] * 3}, r"of the plan before it \(3, 1\) actions and 0 elites, "),
        ({"previous_elites": [[[0.0]] * 3]}, "state: expected 3 entries, "),
    ],
)
def test_a_recording_of_another_planner_is_refused(
    changed: dict[str, Any], message: str, cart_bundle: Path, tmp_path: Path
) -> None:
    _, (_, row, _) = read_flight(record(tmp_path, cart_bundle, 0.0, 0.0))
    with pytest.raises(RobotError, match=message):
        replay(Stages.load(cart_bundle), [{**row, **changed}])


def test_the_recording_of_the_drive_before_is_kept(tmp_path: Path) -> None:
    (tmp_path / "flight.mcap").write_bytes(b"of the first")
    Recorder(tmp_path, {}).close()
    kept = [path for path in tmp_path.iterdir() if path.name != "flight.mcap"]
    assert [path.read_bytes() for path in kept] == [b"of the first"]
