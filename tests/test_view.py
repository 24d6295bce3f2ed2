"""`wmrobot view` as a command: what it prints, and what it refuses."""

import importlib.util
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import CART, COUNTER, edit
from tests.tiny import WORDS, write_controller
from wmrobot.app.cli import main
from wmrobot.app.view import Config
from wmrobot.app.view_bundle import RecordedEnv, load_bundle
from wmrobot.app.view_film import write_film
from wmrobot.core.errors import ConfigError
from wmrobot.view import window as window_module
from wmrobot.view.recording import Recording

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/[\w-]{32}/")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            [],
            "view: expected a task, run=<folder>, bundle=<folder> or replay=<file>, got none",
        ),
        (["run=a", "bundle=b"], "view: expected run= or bundle=, got both"),
        (["walker-walk", "port=0"], "port: expected 1 to 65535, got 0"),
        (["walker-walk", "seconds=0"], "seconds: expected more than 0, got 0.0"),
        (["bundle=b", "agent=prior"], "agent: a bundle holds its planner alone, got prior"),
        (["bundle=b", "compile=true"], "compile: a bundle's planner is compiled already"),
    ],
)
def test_settings_that_make_no_sense(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", *words]) == 2
    assert capsys.readouterr().err == f"error: {complaint}\n"


def test_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        window_module, "find_spec", lambda name: None if name == "viser" else find(name)
    )
    assert main(["view", "walker-walk"]) == 2
    assert capsys.readouterr().err == (
        "error: the window needs wmrobot[view] (viser is not installed): "
        'pip install "wmrobot[view]"\n'
    )


def test_bundle_is_driven_in_its_task(cart_bundle: Path) -> None:
    mind, make_env, facts = load_bundle(Config(bundle=str(cart_bundle)))
    assert facts == {"controller": f"bundle {cart_bundle}, its settings are fixed"}
    env = make_env(0)
    assert mind.act(env.reset()).shape == (1, 1)
    thought = mind.thought()
    assert thought is not None
    assert thought.mean.shape == (3, 1)
    assert mind.imagine(4, 4) is None
    env.close()


def test_bundle_whose_task_is_gone_is_shown_what_came_with_it(
    cart_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(cart_bundle, bundle)
    edit(bundle, lambda document: document.update(task="/nowhere/robot.py:gone"))
    mind, make_env, facts = load_bundle(Config(bundle=str(bundle)))
    assert facts["no simulation"].startswith("recorded observations are shown to it (")
    env: Any = make_env(0)
    assert isinstance(env, RecordedEnv)
    assert env.physics(0) is None
    obs = env.reset()
    for _ in range(env.task_spec.episode_decisions):
        step = env.step(mind.act(obs))
        obs = step.obs
    assert step.truncated[0]
    np.testing.assert_array_equal(obs["state"], env.reset()["state"])


def test_bundle_of_many_robots_or_another_task_is_refused(cart_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="expected a bundle of walker-walk, got one of"):
        load_bundle(Config(task="walker-walk", bundle=str(cart_bundle)))


def test_film_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.rollout.npz"
    states = {"qpos": np.linspace(0, 1, 4)[:, None]}
    Recording(task=CART, control_dt=0.1, arrays=states).save(path)
    write_film(path, tmp_path / "x.mp4", {})
    assert (tmp_path / "x.mp4").stat().st_size > 500


@pytest.mark.slow
def test_command_opens_a_window_and_takes_the_next_free_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    monkeypatch.chdir(tmp_path)
    from wmrobot.view import decoder, states

    monkeypatch.setattr(decoder, "STEPS", 5)
    monkeypatch.setattr(states, "DECISIONS", 10)
    write_controller(tmp_path / "controller", "cartpole-swingup")
    with socket.create_server(("127.0.0.1", 18_300)):
        words = ["run=controller", "port=18300", "seconds=2", "threads=1", "device=cpu"]
        assert main(["view", *words]) == 0
    told = capfd.readouterr().out
    found = LINK.search(told)
    assert found is not None
    assert found[1] != "18300"
    assert f"port 18300 is in use: took {found[1]}" in told
    assert "decoder off by" in told


@pytest.mark.slow
def test_task_without_a_scene_has_curves_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    from wmrobot.app import view_drive

    notes = []
    original = view_drive.make_layout

    def spy(*arguments: Any) -> Any:
        layout = original(*arguments)
        notes.append(layout.notes)
        return replace(layout)

    monkeypatch.setattr(view_drive, "make_layout", spy)
    monkeypatch.chdir(tmp_path)
    write_controller(tmp_path / "controller", COUNTER)
    words = ["run=controller", "port=18310", "seconds=2", "threads=1", "device=cpu"]
    assert main(["view", *words]) == 0
    assert LINK.search(capfd.readouterr().out)
    assert notes == [(f"{COUNTER} has no MuJoCo scene: curves only",)]


@pytest.mark.slow
def test_training_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    run = tmp_path / "run"
    pace = ("steps=60", "seed_steps=50", "eval_episodes=1", "log_freq=20", "view=true")
    assert main(["train", "cartpole-swingup", f"run={run}", *WORDS, *pace]) == 0
    assert LINK.search(capfd.readouterr().err)
    assert (run / "summary.json").exists()
