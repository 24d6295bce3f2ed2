"""Driving at the control rate: ticks, lateness, films."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.tiny import make_card
from wmrobot.app.controllers import make_controller, make_model
from wmrobot.app.drive import Drive, drive, film
from wmrobot.control.agents import ZeroAgent
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
    assert len(trace.frames) == length == len(episode.snapshots)
    assert trace.plans.shape == (length, 3, 1)
    np.testing.assert_array_equal(trace.plans[:, 0], episode.actions)
    assert trace.frames[0].shape == (480, 480, 3)
    if length > 20:
        assert not np.array_equal(trace.frames[0], trace.frames[20])
