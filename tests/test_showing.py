"""Driving at the control rate: ticks, lateness, films."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.runs import REACH
from tests.tiny import make_card
from wmrobot.app import compiling
from wmrobot.app.compiling import CompileChoice
from wmrobot.app.controllers import make_controller, make_model
from wmrobot.app.showing import stage
from wmrobot.app.showing.episode import Drive, drive, film
from wmrobot.control.agents import RandomAgent, ZeroAgent
from wmrobot.control.controller import Controller
from wmrobot.core.errors import TaskError
from wmrobot.core.random import make_generator
from wmrobot.core.spec import BoolArray, FloatArray, Obs
from wmrobot.envs.vector import VectorEnv


class FakeClock:
    """Time that passes only where somebody says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += max(seconds, 0.0)


class SlowAgent(ZeroAgent):
    """Takes a given time for each decision [s]."""

    def __init__(self, clock: FakeClock, times: Iterator[float]) -> None:
        super().__init__(1)
        self.clock, self.times = clock, times

    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        self.clock.time += next(self.times)
        return super().act(obs)


def drive_slowly(times: list[float]) -> tuple[Drive, FakeClock]:
    clock = FakeClock()
    with VectorEnv("qube2-swingup", 1, seed=0) as env:
        endless = iter(times + [0.001] * 300)
        return drive(SlowAgent(clock, endless), env, clock=clock), clock


def test_an_episode_takes_as_long_as_it_would_on_the_robot() -> None:
    episode, clock = drive_slowly([])
    assert len(episode.rewards) == 300
    assert clock.time == pytest.approx(299 * 0.02 + 0.001)
    assert episode.late == 0
    assert episode.act_ms == pytest.approx(np.full(300, 1.0))


def test_late_ticks_are_counted_and_not_caught_up_with() -> None:
    episode, clock = drive_slowly([0.001, 0.025, 0.001, 0.019, 0.050])
    assert episode.late == 2
    assert clock.slept[:5] == pytest.approx([0.019, 0.0, 0.019, 0.001, 0.0])


def test_hanging_still_is_never_upright() -> None:
    episode, _ = drive_slowly([])
    assert episode.upright_s == 0
    assert not episode.success
    assert np.isnan(episode.imagined).all()


def test_a_film_shows_the_states_that_were_driven_through() -> None:
    card = make_card("qube2-swingup")
    torch.manual_seed(0)
    model = make_model(card, torch.device("cpu"))
    controller = make_controller(model, card, make_generator(0, "film"))
    with VectorEnv("qube2-swingup", 1, seed=0) as env:
        episode = drive(controller, env, clock=None, keep_states=True)
        trace = film(episode, env, title="qube2")
    length = len(episode.rewards)
    assert len(trace.frames) == length == len(episode.states)
    assert trace.plans.shape == (length, 3, 1)
    np.testing.assert_array_equal(trace.plans[:, 0], episode.actions)
    assert trace.frames[0].shape == (480, 480, 3)
    if length > 20:
        assert not np.array_equal(trace.frames[0], trace.frames[20])


def test_a_film_of_what_cannot_go_back_was_drawn_on_the_way() -> None:
    with VectorEnv(REACH, 1, seed=0) as env:
        episode = drive(RandomAgent(1, np.random.default_rng(0)), env, clock=None, keep_states=True)
        frames = film(episode, env, title="reach").frames
    assert len(frames) == len(episode.rewards)
    lit = [int((frame[:, 0] == 255).all(axis=1).sum()) for frame in frames]
    assert lit == [30 * step for step in range(len(frames))]  # 8 rows of 128 a step


def test_what_cannot_be_drawn_is_driven_all_the_same() -> None:
    with VectorEnv("gym:Pendulum-v1", 1, seed=0) as env:
        episode = drive(RandomAgent(1, np.random.default_rng(0)), env, clock=None, keep_states=True)
        assert len(episode.rewards) == 200
        with pytest.raises(TaskError, match="gym:Pendulum-v1: pygame is not installed"):
            film(episode, env, title="pendulum")


@pytest.mark.parametrize(("choice", "seconds"), [("auto", 0.015), (False, 9.0)])
def test_a_planner_that_keeps_up_is_not_compiled(
    choice: CompileChoice,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stage, "time_plan", lambda *_: seconds)  # of 20 ms
    monkeypatch.setattr(compiling.torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    card = make_card("qube2-swingup")
    model = make_model(card, torch.device("cpu"))
    assert isinstance(stage.build_driver(model, card, "trained", 0, choice), Controller)
    assert capsys.readouterr().err == ""


def test_a_planner_that_would_not_keep_up_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(compiling, "_missing", lambda: "")
    monkeypatch.setattr(stage, "time_plan", lambda *_: 0.017)
    monkeypatch.setattr(
        compiling.torch, "compile", lambda function, **_: compiled.append(function) or function
    )
    card = make_card("qube2-swingup")
    model = make_model(card, torch.device("cpu"))
    obs = {"state": np.full((1, *card.task.obs_shapes["state"]), 0.1, np.float32)}
    fast = stage.build_driver(model, card, "trained", 0, "auto")
    assert len(compiled) == 1
    *before, after = capsys.readouterr().err.splitlines()
    assert before == [
        "  a plan takes 17 ms here, and a decision has 20 ms",
        "  compiling, a minute or more the first time (compile=false goes without)",
    ]
    assert re.fullmatch(r"  compiled in \d+ s", after)
    plain = stage.build_driver(model, card, "trained", 0, False)  # nothing else has changed
    np.testing.assert_array_equal(fast.act(obs), plain.act(obs))
    assert stage.build_driver(model, card, "zero", 0, "auto").act(obs) == 0
    assert len(compiled) == 1
