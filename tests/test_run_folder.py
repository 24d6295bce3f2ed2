"""A run on disk: one process at a time, tables that can be cut back, curves that forget as well."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.runs import CART, end_of, opened, play, tiny
from wmrobot.app import run_folder
from wmrobot.app.rollout import EpisodeResult, Rollout
from wmrobot.app.run_folder import commit, lock_run, provenance
from wmrobot.app.tables import Table
from wmrobot.app.training.logs import EVAL_COLUMNS, TRAIN_COLUMNS
from wmrobot.core.errors import CheckpointError

HOLDER = """
import sys, time
from pathlib import Path
from wmrobot.app.run_folder import lock_run
with lock_run(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(1000)
"""


def test_run_in_use_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    expected = f"{run}: in use by another process; wait for it, or choose another run="
    with lock_run(run), pytest.raises(CheckpointError) as caught, lock_run(run):
        pass
    assert str(caught.value) == expected
    with lock_run(run):  # let go of at once
        pass


@pytest.mark.slow
def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match="in use by another process"), lock_run(tmp_path):
            pass
        process.kill()
    with lock_run(tmp_path):
        pass


def test_file_in_the_place_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError) as caught, lock_run(path):
            pass
        assert str(caught.value) == (
            f"{path}: expected a folder for the run, got a file; choose another run="
        )


def test_table_grows_and_is_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table = Table(path, ("step", "value", "note"))
    table.add({"step": 1, "value": 0.1234567})
    size = table.size
    table.add({"step": 2, "value": 1e9, "note": "a,b"})
    assert path.read_bytes() == b'step,value,note\n1,0.123457,\n2,1e+09,"a,b"\n'
    Table(path, ("step", "value", "note")).cut(size)
    assert path.read_bytes() == b"step,value,note\n1,0.123457,\n"
    table.cut(0)
    assert path.read_bytes() == b"step,value,note\n"


def test_table_whose_header_was_never_written_gets_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    Table(tmp_path / "a.csv", ("step",)).add({"step": 1})
    assert (tmp_path / "a.csv").read_text() == "step\n1\n"


def test_table_of_an_older_version_keeps_its_columns(tmp_path: Path) -> None:
    Table(tmp_path / "a.csv", ("step", "value")).add({"step": 1, "value": 2})
    table = Table(tmp_path / "a.csv", ("step", "new", "value"))
    table.add({"step": 3, "new": 4, "value": 5})
    assert (tmp_path / "a.csv").read_text() == "step,value\n1,2\n3,5\n"


def test_table_that_lost_rows_is_not_filled_up(tmp_path: Path) -> None:
    table = Table(tmp_path / "a.csv", ("step",))
    with pytest.raises(CheckpointError) as caught:
        table.cut(100)
    assert str(caught.value) == (
        f"{tmp_path / 'a.csv'}: expected the 100 bytes that the checkpoint saw, got 5; "
        "put the file back as it was"
    )
    assert table.size == 5


def test_columns_and_steps_of_the_tables(tmp_path: Path) -> None:
    cfg = tiny(num_envs=2, steps=30)  # a decision of `cart` is 2 environment steps
    assert play(cfg, tmp_path)
    with (tmp_path / "eval.csv").open() as file:
        table = csv.reader(file)
        assert tuple(next(table)) == EVAL_COLUMNS == ("step", "episode_reward")
        assert [row[0] for row in table] == ["60"]
    with (tmp_path / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == TRAIN_COLUMNS
    assert [row["decisions"] for row in rows] == ["8", "14", "22", "28", "30"]
    assert [row["step"] for row in rows] == ["16", "28", "44", "56", "60"]
    assert rows[0]["episode_reward"] == ""  # no episode had ended
    assert rows[0]["total_loss"] == ""  # no update had been made
    assert float(rows[-1]["total_loss"]) > 0


@pytest.mark.slow
def test_tensorboard_forgets_what_a_dead_run_saw_after_its_checkpoint(tmp_path: Path) -> None:
    cfg, whole = tiny(steps=40, log_freq=4, eval_freq=8), tmp_path / "whole"
    run = tmp_path / "run"
    assert not play(cfg, run, stop=20)
    assert not play(cfg, run, die=23)  # nothing after the checkpoint
    assert not play(cfg, run, die=34)  # decisions 25 to 34 come twice
    assert play(cfg, run)
    assert play(cfg, whole)
    assert end_of(cfg, run)["train.csv"] == end_of(cfg, whole)["train.csv"]
    for name in ("train/total_loss", "eval/episode_reward", "eval/termination_rate"):
        found, expected = (curve(folder / "tensorboard", name) for folder in (run, whole))
        assert found == expected
        assert [step for step, _ in found] == sorted({step for step, _ in found})


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_rates_of_a_rollout() -> None:
    def episode(*, terminated: bool, success: bool) -> EpisodeResult:
        return EpisodeResult(reward=1.0, length=2, terminated=terminated, success=success)

    rollout = Rollout(
        episodes=[
            episode(terminated=True, success=False),
            episode(terminated=False, success=True),
            episode(terminated=False, success=True),
            episode(terminated=False, success=False),
        ]
    )
    assert (rollout.mean_reward, rollout.success_rate, rollout.termination_rate) == (1, 0.5, 0.25)
    untold = Rollout(episodes=[EpisodeResult(reward=1, length=2, terminated=False, success=None)])
    assert untold.success_rate is None


def test_provenance_names_versions_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = provenance()
    assert made["packages"].keys() == {"torch", "mujoco", "dm-control", "numpy"}
    assert all(made["packages"].values())
    monkeypatch.setattr(run_folder, "PACKAGE", tmp_path / "wmrobot")
    assert commit() is None  # installed, no checkout
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert commit() is None  # nothing committed yet
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=a"], check=True)
    clean = commit()
    assert clean is not None
    assert len(clean) == 12
    (tmp_path / "file").write_text("2")
    assert commit() == f"{clean}+"


def test_task_of_these_tests_repeats_actions(tmp_path: Path) -> None:
    with opened(tiny(CART), tmp_path) as trainer:
        assert trainer.card.task.action_repeat == 2
