"""A sweep runs what is left, shows what failed, and stands beside what was published."""

import csv
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.runs import CART, play
from tests.runs import words as words_of
from tests.test_anchors import write as write_anchors
from wmrobot.app import sweep
from wmrobot.app.cli import main
from wmrobot.app.run_folder import RUN_FILE, provenance
from wmrobot.app.sweeping.launcher import Launcher
from wmrobot.app.sweeping.plan import Run, list_runs, read_plan
from wmrobot.app.training.settings import settle_places
from wmrobot.core.config import to_plain
from wmrobot.core.files import write_json

PRETEND = (sys.executable, "-S", str(Path(__file__).with_name("pretend_train.py")))


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that learn nothing."""
    monkeypatch.setattr(sweep, "Launcher", lambda jobs: Launcher(jobs, PRETEND))


def write_sweep(folder: Path, behaviour: Mapping[int, str], task: str = "walker-walk") -> list[str]:
    """A sweep of three seeds whose runs behave so, and the words to run it."""
    file, runs = folder / "mine.yaml", folder / "runs"
    file.write_text(f"tasks: ['{task}']\nseeds: [1, 2, 3]\nsettings: [profile=nano]\n")
    runs.mkdir(exist_ok=True)
    told = {
        run.seed: {
            "does": behaviour.get(run.seed, "finishes"),
            "settings": to_plain(settle_places(run.settings)),
        }
        for run in list_runs(read_plan(file), runs)
    }
    (runs / "behaviour").write_text(json.dumps(told))
    anchors = write_anchors(folder / "anchors")
    return [str(file), "jobs=3", f"runs={runs}", f"anchors={anchors}"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.usefixtures("pretend")
def test_a_seed_that_fails_is_shown_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_sweep(tmp_path, {2: "diverges"})
    assert main(["sweep", *words]) == 2
    out, err = capsys.readouterr()
    failed = tmp_path / "runs" / "walker-walk" / "seed-2"
    assert err.splitlines()[-1] == (
        f"error: 1 of 3 runs failed; the first is {failed}: losses or weights are not finite after "
        "7 updates"
    )
    results = tmp_path / "runs" / "results"
    assert [row["state"] for row in table(results / "runs.csv")] == [
        "finished", "failed", "finished",
    ]  # fmt: skip
    assert "losses or weights are not finite" in out
    (row,) = table(results / "table.csv")
    # seeds 1 and 3 end at 400 and 600; TD-MPC2's seeds at 960 and 940
    assert (row["finished"], row["failed"], row["runs"]) == ("2", "1", "3")
    assert (row["step"], row["mean"], row["low"], row["high"]) == (
        "3000",
        "500.0",
        "400.0",
        "600.0",
    )
    assert (row["reference"], row["reference_step"], row["percent"]) == ("950.0", "100000", "52.6")
    assert (row["step_to_95"], row["minutes_to_95"], row["minutes_a_run"]) == ("", "", "3.0")
    raw = table(results / "state" / "walker-walk.csv")
    assert len(raw) == 3 + 1 + 3
    assert raw[0] == {
        "step": "1000", "reward": "200", "seed": "1", "profile": "nano", "machine": "abacus",
        "wall_clock_s": "60.0", "commit": "0123456789ab",
    }  # fmt: skip
    assert raw[3]["seed"] == "2"  # the failed one is shown as far as it came
    assert (results / "state" / "walker-walk-nano.png").read_bytes()[:4] == b"\x89PNG"

    write_sweep(tmp_path, {})  # cured: only the failed one is gone on with
    assert main(["sweep", *words]) == 0
    begun = tmp_path.glob("runs/walker-walk/*/begun")
    lines = {path.parent.name: path.read_text().splitlines() for path in begun}
    assert {name: len(each) for name, each in lines.items()} == {
        "seed-1": 1, "seed-2": 2, "seed-3": 1,
    }  # fmt: skip
    assert lines["seed-2"][1] == f"['resume={failed}']"
    assert [row["finished"] for row in table(results / "table.csv")] == ["3"]


@pytest.mark.slow
@pytest.mark.usefixtures("pretend")
def test_a_sweep_is_interrupted_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*write_sweep(tmp_path, {1: "waits", 3: "dies"}), "jobs=1"]
    words.remove("jobs=3")
    waiting = tmp_path / "runs" / "walker-walk" / "seed-1" / "waiting"

    def interrupt() -> None:
        while not waiting.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(["sweep", *words]) == 130
    thread.join()
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; go on with the same command"
    runs = tmp_path / "runs" / "results" / "runs.csv"
    assert [row["state"] for row in table(runs)] == ["interrupted", "waiting", "waiting"]
    write_sweep(tmp_path, {3: "dies"})
    assert main(["sweep", *words]) == 2
    assert [row["state"] for row in table(runs)] == ["finished", "finished", "failed"]
    assert "killed by signal 9; see " in capsys.readouterr().err
    assert main(["sweep", *words[:1], "jobs=0", *words[1:-1]]) == 0
    assert [row["state"] for row in table(runs)] == ["finished", "finished", "unfinished"]


@pytest.mark.slow
@pytest.mark.usefixtures("pretend")
def test_a_task_without_anchors_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write_sweep(tmp_path, {}, task="qube2-swingup")
    assert main(["sweep", *words]) == 0
    assert "no anchors for qube2-swingup" in capsys.readouterr().out
    (row,) = table(tmp_path / "runs" / "results" / "table.csv")
    assert (row["mean"], row["reference"], row["percent"]) == ("500.0", "", "")


def test_a_word_that_train_does_not_know_is_told_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("tasks: [cup-catch]\nseeds: [1]\nsettings: [stepz=3]\n")
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: no setting named 'stepz'.")


def test_anchors_without_a_column_are_refused_before_anything_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_sweep(tmp_path, {})
    curves = tmp_path / "anchors" / "tdmpc2_dmcontrol_curves.csv"
    curves.write_text("obs,task,step,seed\n")
    assert main(["sweep", *words]) == 2
    assert capsys.readouterr().err == (
        f"error: {curves}: expected the columns obs, task, step, reward, seed, got obs, task, "
        "step, seed; missing: reward\n"
    )
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["behaviour"]


@pytest.mark.slow
@pytest.mark.usefixtures("pretend")
def test_threads_and_logs_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_sweep(tmp_path, {1: "diverges"})
    runs = tmp_path / "runs" / "walker-walk"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main(["sweep", *words]) == 2
    assert "threads=" not in (runs / "seed-2" / "begun").read_text()
    assert "not finite after 7 updates" in (runs / "seed-1.log").read_text()
    write_sweep(tmp_path, {1: "dies"})
    assert main(["sweep", *words]) == 2
    assert "killed by signal 9; see " in capsys.readouterr().err.splitlines()[-1]
    assert "not finite after 7 updates" in (runs / "seed-1.log").read_text()  # kept
    write_sweep(tmp_path, {})
    assert main(["sweep", *words]) == 0
    monkeypatch.delenv("OMP_NUM_THREADS")
    (runs / "seed-2").rename(tmp_path / "away")
    assert main(["sweep", *words]) == 0
    assert "threads=" in (runs / "seed-2" / "begun").read_text()


def test_a_run_that_another_process_still_trains_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    from tests.runs import tiny

    run = Run(task=CART, seed=1, folder=tmp_path, words=(), settings=tiny())
    launcher = Launcher(1, PRETEND)
    with FileLock(tmp_path / ".lock"):
        threading.Timer(0.7, launcher.stop).start()
        assert [each.state for each in launcher.launch([run])] == ["waiting"]
    assert capsys.readouterr().err.count("another process still trains it; waiting\n") == 1


@pytest.mark.slow
def test_real_runs_are_swept(tmp_path: Path) -> None:
    """By `wmrobot train` itself: one new run, and one that was broken off before."""
    settings = [word for word in words_of(steps=30) if not word.startswith("task=")]
    file, runs = tmp_path / "sweep.yaml", tmp_path / "runs"
    file.write_text(json.dumps({"tasks": [CART], "seeds": [1, 2], "settings": settings}))
    begun = list_runs(read_plan(file), runs)[1]
    assert not play(settle_places(begun.settings), begun.folder, stop=20)
    stored = {
        "schema": 1,
        "settings": to_plain(settle_places(begun.settings)),
        "made": provenance(),
    }
    write_json(begun.folder / RUN_FILE, stored)
    assert main(["sweep", str(file), "jobs=2", f"runs={runs}"]) == 0
    results = runs / "results" / "state"
    names = sorted(path.name for path in results.iterdir())
    assert names == ["tiny.py-cart-none.png", "tiny.py-cart.csv"]
    rows = table(results / "tiny.py-cart.csv")
    assert [(row["step"], row["seed"]) for row in rows] == [("60", "1"), ("60", "2")]
    assert all(float(row["wall_clock_s"]) > 0 for row in rows)
