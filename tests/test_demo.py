"""`wmrobot demo`: one robot driven and filmed, and the whole tour."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import pytest

from tests.runs import tiny
from tests.tiny import write_controller
from wmrobot.app import tour
from wmrobot.app.cli import main
from wmrobot.app.config import load
from wmrobot.app.controllers import shipped_controllers
from wmrobot.app.demo import Config
from wmrobot.app.train import train
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.errors import ConfigError

TASK = "qube2-swingup"
TINY = Path(__file__).parent / "fixtures" / "tiny.py"


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["trained", "zero"])
def test_a_demonstration_leaves_a_film_at_true_speed(
    agent: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    controller = write_controller(tmp_path / "controller", TASK)
    words = ["demo", f"run={controller}", f"agent={agent}", f"out={tmp_path}", "threads=1"]
    assert main(words) == 0
    told = capfd.readouterr().out
    decisions = int(told.split(" decisions")[0].split()[-1])
    film = tmp_path / f"{TASK}-{agent}-0.mp4"
    facts = iio.immeta(film)
    assert facts["duration"] == pytest.approx(decisions * 0.02, abs=0.04)
    assert facts["size"] == (960, 480)
    assert iio.imread(film, index=0).std() > 5


def test_a_window_needs_a_display(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["demo", TASK, "view=true"]) == 2
    assert capfd.readouterr().err == (
        "error: view: expected a display, but neither DISPLAY nor WAYLAND_DISPLAY is set; "
        "leave it out and look at the films that are written\n"
    )


def test_a_task_without_a_shipped_controller_says_how_to_get_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "humanoid-run"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: no shipped controller named 'humanoid-run'.")
    assert error.endswith("Train one with: wmrobot train humanoid-run profile=nano\n")


def test_a_misspelt_function_of_a_file_is_not_to_be_trained(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for verb in ("demo", "evaluate", "export"):
        assert main([verb, f"{TINY}:crat"]) == 2
        assert "no function named 'crat'. Did you mean 'cart'?" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tour_leaves_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert TASK in shipped_controllers()
    out = tmp_path / "tour"
    monkeypatch.setattr(tour, "EPISODES_EACH", 1)  # they are driven in real time
    monkeypatch.setattr(tour, "load", lambda kind, words: load(kind, [*words, "seed_steps=500"]))
    assert main(["demo", f"out={out}", "steps=700", "threads=1", "compile=false"]) == 0
    told = capfd.readouterr().out
    for step in ("[1/4]", "[2/4]", "[3/4]", "[4/4]", "what to try next"):
        assert step in told
    summary = json.loads((out / "summary.json").read_text())
    assert [row["agent"] for row in summary["robot"]] == [
        "planner",
        "policy prior alone",
        "planner, dynamics shuffled",
        "zero action",
    ]
    planner, _, _, zero = summary["robot"]
    assert planner["return"] > 150  # of 300; the shipped controller swings up and holds
    assert zero["return"] < 1
    assert len(summary["lesson"]["returns"]) == 10
    page = (out / "index.html").read_text()
    assert page.count("data:video/mp4;base64,") == 2
    assert "http://" not in page.replace("http://www.w3.org", "")
    with (out / "eval.csv").open() as file:
        assert next(csv.reader(file)) == ["step", "episode_reward"]
    assert (out / "curve.png").read_bytes()[1:4] == b"PNG"


def test_a_tour_goes_on_with_the_training_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "tour"
    settings = replace(tiny(steps=30, eval_freq=0), run=str(out / "train"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "loop", interrupted)
        assert train(settings) == (False, out / "train")
    for other in ({"steps": 10_000}, {"steps": 30, "seed": 2}):
        with pytest.raises(ConfigError, match="was begun with seed=1 steps=30"):
            tour._learn(Config(out=str(out), **other), out)
    run, facts = tour._learn(Config(out=str(out), steps=30), out)
    assert run == out / "train"
    assert facts["decisions"] == 30
    assert facts["seconds"] > 0


def test_a_tour_touches_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "cats.tar").touch()
    with pytest.raises(ConfigError, match=r"train holds cats.tar, which is no training's"):
        tour._make_room(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "summary.json"):
        (run / name).touch()
    with pytest.raises(ConfigError, match="expected a folder for the tour, got the run"):
        tour._make_room(run)
    assert {path.name for path in run.iterdir()} == {"run.json", "summary.json"}


def interrupted(self: Trainer, *_: object) -> bool:
    """Ctrl-C before the first decision: the run is saved and left."""
    self.save()
    return False
