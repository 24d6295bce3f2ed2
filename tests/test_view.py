"""`wmrobot view` as a command: what it prints, and what it refuses."""

import importlib.util
import re
import shutil
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.bundles import CART, COUNTER, edit
from tests.panes import Pane
from tests.tiny import PLANNER, WORDS, write_controller
from wmrobot.app.cli import main
from wmrobot.app.controllers import read_controller
from wmrobot.app.view import Config
from wmrobot.app.viewing import live
from wmrobot.app.viewing.bundle import RecordedEnv, _recorded, load_bundle
from wmrobot.app.viewing.films import Filmer, _Frames, write_film
from wmrobot.app.viewing.live import make_controls
from wmrobot.core.errors import ConfigError, DataError
from wmrobot.core.random import make_generator
from wmrobot.envs.vector import VectorEnv
from wmrobot.plan.config import PlannerConfig
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.view import window as window_module
from wmrobot.view.driving.driver import Driver
from wmrobot.view.driving.mind import BundleMind, LearnedMind
from wmrobot.view.driving.news import News
from wmrobot.view.driving.rig import MakeEnv, Rig
from wmrobot.view.hindsight import DISCOUNT
from wmrobot.view.layout import Layout
from wmrobot.view.live_layout import drive_controls, record_controls
from wmrobot.view.looks import looks_of
from wmrobot.view.recorded.recording import Recording

CPU = torch.device("cpu")
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
        'pip install ".[view]" in its checkout\n'
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
    told = show_two_decisions(mind, make_env)
    assert told[-1]["series"]["reward"] is None
    assert told[-1]["series"]["expected return"] is not None
    assert told[-1]["facts"]["episode"] == "return - after 1 decisions"


def show_two_decisions(mind: BundleMind, make_env: MakeEnv) -> list[dict[str, Any]]:
    """What a window is told of them."""
    pane, left = Pane(), iter(range(2))
    driver = Driver(mind, Rig(make_env, 0), pane, drive_controls(1, follow=False))
    driver.news = Always(driver._clock)
    driver.run(lambda: next(left, None) is not None)
    return pane.messages


class Always(News):
    """Everything is told with every message."""

    is_due = True


@pytest.mark.parametrize(
    ("told", "expected"), [({"discount": 0.9}, 0.9), ({"discount": None}, DISCOUNT)]
)
def test_returns_of_a_bundle_are_weighed_as_it_was_trained(
    told: dict[str, float | None], expected: float, cart_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(cart_bundle, bundle)
    edit(bundle, lambda document: document["model"].update(told))
    layouts: list[Layout] = []

    def look(layout: Layout) -> None:
        layouts.append(layout)
        raise KeyboardInterrupt

    window: Any = SimpleNamespace(open=look)
    with pytest.raises(KeyboardInterrupt):
        live.drive(Config(bundle=str(bundle), out=str(tmp_path / "out")), window)
    assert layouts[0].discount == expected


def test_controls_that_would_do_nothing_are_not_there(cart_bundle: Path, tmp_path: Path) -> None:
    def names(cfg: Config, rig: Rig, planner: PlannerConfig | None = None) -> set[str]:
        with closing(rig):
            return {control.name for control in make_controls(cfg, rig, planner, tmp_path)}

    imagined, drawn = {"ghost", "paths", "ahead"}, {"follow", "shadows"}
    moving = {"newest", "delay", "seed", "noise"}
    cfg = Config(run=str(tmp_path))
    cart = names(cfg, Rig(load_bundle(Config(bundle=str(cart_bundle)))[1], 0), PLANNER)
    assert cart & (imagined | drawn | moving) == imagined | drawn | {"delay", "seed", "noise"}
    bundle = Config(bundle=str(cart_bundle))
    assert not names(bundle, Rig(load_bundle(bundle)[1], 0)) & (imagined | {"horizon"})
    counter = names(cfg, Rig(lambda seed: VectorEnv(COUNTER, 1, seed=seed), 0), PLANNER)
    assert counter & (imagined | drawn | moving) == {"delay", "seed", "noise"}
    spec, obs = _recorded(Bundle.read(str(cart_bundle)))
    shown = names(cfg, Rig(lambda seed: RecordedEnv(spec, obs), 0))  # type: ignore[arg-type, return-value]
    assert shown == {"pause", "step", "reset", "speed", "noise"}
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    (tmp_path / "checkpoints" / "100" / "manifest.json").touch()
    assert "newest" in names(cfg, Rig(lambda seed: VectorEnv(COUNTER, 1, seed=seed), 0))


def test_bundle_of_many_robots_or_another_task_is_refused(cart_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="expected a bundle of walker-walk, got one of"):
        load_bundle(Config(task="walker-walk", bundle=str(cart_bundle)))


def test_film_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.rollout.npz"
    states = {"qpos": np.linspace(0, 1, 4)[:, None]}
    Recording(task=CART, control_dt=0.1, arrays=states).save(path)
    write_film(path, tmp_path / "x.mp4", {})
    assert (tmp_path / "x.mp4").stat().st_size > 500
    Recording(task=CART, control_dt=0.1, arrays={"qpos": np.zeros((4, 3))}).save(path)
    with pytest.raises(DataError, match=r"qpos: expected \(1,\), as the robot has that is here"):
        write_film(path, tmp_path / "x.mp4", {})


def test_film_looks_as_the_robot_did() -> None:
    with VectorEnv(CART, 1, seed=0) as env:
        env.reset()
        rgba = looks_of(env.physics(0).model.ptr)["geom_rgba"]  # type: ignore[union-attr]
        arrays = {"qpos": np.zeros((2, 1)), "look": np.array([0.0, 1.0])}
        looks = {"geom_rgba": np.stack([rgba, np.ones_like(rgba)])}
        frames = _Frames(Recording(task=CART, control_dt=0.1, arrays=arrays, looks=looks), env)
        assert (frames[0] != frames[1]).any()
        np.testing.assert_array_equal(frames[0], frames[0])


@pytest.mark.slow
def test_one_film_at_a_time_and_its_end_is_told(tmp_path: Path) -> None:
    path, film = tmp_path / "x.rollout.npz", tmp_path / "x.mp4"
    Recording(task=CART, control_dt=0.1, arrays={"qpos": np.zeros((2, 1))}).save(path)
    filmer = Filmer({})
    assert filmer.news() is None
    assert filmer.begin(path) == f"filming, the robot drives on: {film}"
    with pytest.raises(ConfigError, match=f"film: expected one at a time, {film} is still being"):
        filmer.begin(path)
    assert wait_for_news(filmer) == f"film: {film}"
    assert film.stat().st_size > 500
    path.write_bytes(b"rubbish")
    filmer.begin(path)
    assert wait_for_news(filmer).startswith(f"no film of {path}: {path}: expected a recorded")
    assert filmer.news() is None


def wait_for_news(filmer: Filmer) -> str:
    assert filmer._pipe is not None
    assert filmer._pipe.poll(120)
    told = filmer.news()
    assert told is not None
    return told


@pytest.mark.slow
def test_command_opens_a_window_and_takes_the_next_free_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    monkeypatch.chdir(tmp_path)
    from wmrobot.view.driving import decoder, states

    monkeypatch.setattr(decoder, "STEPS", 5)
    monkeypatch.setattr(states, "DECISIONS", 10)
    write_controller(tmp_path / "controller", "cartpole-swingup")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["run=controller", f"port={port}", "seconds=2", "threads=1", "device=cpu"]
        assert main(["view", *words]) == 0
    told = capfd.readouterr().out
    found = LINK.search(told)
    assert found is not None
    assert int(found[1]) != port
    assert f"port {port} is in use: took {found[1]}" in told
    assert "decoder off by" in told


def test_a_newer_checkpoint_of_a_run_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = [write_controller(tmp_path / "run" / "checkpoints" / name, COUNTER) for name in "12"]
    model, card = read_controller(saved[0], CPU)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(1.0)
    monkeypatch.setattr(live, "_imagine", lambda *_: None)
    monkeypatch.setattr(live, "LOOK_EVERY", 0.0)
    mind = LearnedMind(
        model=model.eval(),
        base=PLANNER,
        obs_shapes=card.task.obs_shapes,
        frame_stack=1,
        generator=make_generator(0, "test"),
    )
    newest, _ = read_controller(saved[1], CPU)
    fresh = replace(mind, model=newest.eval(), generator=make_generator(1, "test"))
    rig, pane = Rig(lambda seed: VectorEnv(COUNTER, 1, seed=seed), 0), Pane()
    controls = record_controls((), is_run=True, has_scene=False)
    with closing(rig):
        driver = Driver(mind, rig, pane, controls)
        monkeypatch.setattr(live, "find_controller", lambda **_: saved[0])
        newer = live._Follower(Config(run=str(tmp_path / "run")), mind, driver, card)
        mind.act(rig.sense())
        driver.values["newest"] = False
        assert newer() is None
        driver.values["newest"] = True
        assert newer() == "took checkpoint 2"
        assert newer() is None
        mind.generator.set_state(fresh.generator.get_state())
        np.testing.assert_array_equal(mind.act(rig.sense()), fresh.act(rig.sense()))
    assert any("anew" in message for message in pane.messages)


@pytest.mark.slow
def test_task_without_a_scene_has_curves_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    notes = []
    original = live.make_layout

    def spy(*arguments: Any) -> Any:
        layout = original(*arguments)
        notes.append(layout.notes)
        return replace(layout)

    monkeypatch.setattr(live, "make_layout", spy)
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
