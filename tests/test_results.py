"""Raw results come from the runs' own logs, and tables keep what others have put there."""

import json
from pathlib import Path

import numpy as np
import pytest

from wmrobot.app.sweeping.results import COLUMNS, write_results
from wmrobot.app.training.result import read_result
from wmrobot.app.training.stopwatch import COLUMNS as TIMES
from wmrobot.core.errors import DataError


def write_run(
    run: Path, *, seed: int = 1, times: bool = True, rows: str = "20,1.5\n40,2\n"
) -> Path:
    run.mkdir()
    made = {"machine": "abacus, 3 beads", "commit": None, "gpu": "none to speak of"}
    settings = {"seed": seed, "profile": None}
    (run / "run.json").write_text(json.dumps({"settings": settings, "made": made}))
    (run / "eval.csv").write_text(f"step,episode_reward\n{rows}")
    (run / "summary.json").write_text(json.dumps({"seconds": 77.0}))
    if times:
        told = "10,20,evaluation,5.25\n10,20,save,6\n20,40,evaluation,10.5\n"
        (run / "timing.csv").write_text(",".join(TIMES) + f"\n{told}")
    return run


def test_a_run_is_read_from_its_logs(tmp_path: Path) -> None:
    result = read_result(write_run(tmp_path / "run"))
    np.testing.assert_array_equal(result.steps, [20, 40])
    np.testing.assert_array_equal(result.rewards, [1.5, 2])
    np.testing.assert_array_equal(result.wall_clock_s, [5.25, 10.5])
    assert (result.profile, result.commit, result.finished) == ("none", "unknown", True)
    assert result.machine == "abacus, 3 beads, none to speak of"


def test_a_run_from_before_times_were_kept_tells_its_whole(tmp_path: Path) -> None:
    result = read_result(write_run(tmp_path / "run", times=False))
    np.testing.assert_array_equal(result.wall_clock_s, [np.nan, 77.0])


def test_a_row_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    result = read_result(write_run(tmp_path / "run", rows="20,1.5\n40,2"))
    np.testing.assert_array_equal(result.steps, [20])


def test_of_a_step_that_is_told_twice_the_last_counts(tmp_path: Path) -> None:
    result = read_result(write_run(tmp_path / "run", rows="20,1.5\n20,2.5\n40,2\n"))
    np.testing.assert_array_equal(result.steps, [20, 40])
    np.testing.assert_array_equal(result.rewards, [2.5, 2.0])


def test_a_spoiled_table_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows="20,much\n")
    with pytest.raises(DataError, match="expected a step and a return in every row"):
        read_result(run)


def test_rows_of_other_seeds_and_profiles_stay(tmp_path: Path) -> None:
    path = tmp_path / "state" / "x.csv"
    first = read_result(write_run(tmp_path / "a", times=False))
    second = read_result(write_run(tmp_path / "b", seed=2))
    write_results(path, [first])
    assert path.read_text().splitlines() == [
        ",".join(COLUMNS),
        '20,1.5,1,none,"abacus, 3 beads, none to speak of",,unknown',
        '40,2,1,none,"abacus, 3 beads, none to speak of",77.0,unknown',
    ]
    write_results(path, [second])
    whole = path.read_text()
    assert len(whole.splitlines()) == 1 + 2 + 2
    write_results(path, [second])
    assert path.read_text() == whole
    write_results(path, [second, first])
    assert len(path.read_text().splitlines()) == 1 + 2 + 2


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("step,reward\n1,2\n")
    with pytest.raises(DataError) as caught:
        write_results(path, [])
    assert str(caught.value) == (
        f"{path}, line 1: expected the columns {','.join(COLUMNS)}, got 'step,reward'; choose "
        "another out=, or move the file away"
    )
    assert path.read_text() == "step,reward\n1,2\n"
