"""The driver against a real server that falls silent, or does not start."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.realtime import DT, MS, PretendRobot
from tests.test_deadline import FakeStages, describe
from wmrobot.runtime.driving import driver
from wmrobot.runtime.driving.deadline import DeadlineConfig, DeadlinePlanner
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.driving.driver import Driver, Goal, Onlooker
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import Phase
from wmrobot.runtime.server import Server
from wmrobot.runtime.wire.messages import Bye, Reset, Stop
from wmrobot.runtime.wire.port import Port, wait

CART = replace(describe(), control_dt=DT * 1e-9)


class Cart(PretendRobot):
    """Has what the planner of a cart was made for."""

    assert CART.state is not None
    sensors = tuple(term.name for term in CART.state.terms)
    joints = CART.joints
    actuators = tuple(term.name for term in CART.actions)

    def __init__(self) -> None:
        super().__init__()
        self.sensor = [0.0] * len(self.sensors)


@contextmanager
def serving(is_over: Callable[[Server], bool]) -> Iterator[Server]:
    """A robot in a thread; it no longer does anything once that is over."""
    ended = threading.Event()
    with closing(Port()) as port:
        server = Server(Cart(), port)

        def run() -> None:
            while not ended.is_set() and not is_over(server):
                wait([port], min(server.step(), time.monotonic_ns() + 50 * MS))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            thread.join()


def drive(server: Server, onlooker: Onlooker | None = None, **cfg: Any) -> Driver:
    planner = DeadlinePlanner(FakeStages(CART), DeadlineConfig(**cfg), time.monotonic_ns)
    return Driver(server.port.address, planner, DriveLog(), onlooker=onlooker)


class Person:
    """Does something once the robot is silent."""

    def __init__(self) -> None:
        self.wants: list[Callable[[], None]] = []

    def show(self, *_: object) -> None: ...

    def idle(self, silent_ns: int) -> None:
        if silent_ns > 2 * DT and self.wants:
            self.wants.pop(0)()


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """No guard is there to tell anything in the end."""
    monkeypatch.setattr(driver, "FAREWELL_NS", 300 * MS)


def test_a_robot_that_falls_silent_ends_the_drive_and_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "SILENCE_NS", 50 * MS)
    with serving(lambda server: server.motors.ticks.sum() >= 10) as server:
        ours = drive(server)
        with pytest.raises(
            RobotError, match=r"expected a reading every 0.02 s, got none for 0.05 s; is the robot"
        ):
            ours.run(Goal())
        heard = [server.reception.take(*received) for received in server.port.drain()]
    kinds = [type(message) for message in heard if isinstance(message, Stop | Bye)]
    assert kinds == [Stop, Bye]
    assert ours.log.newest is not None
    assert ours.log.newest.phase is Phase.RUNNING


def test_what_people_want_is_heard_while_the_robot_is_silent() -> None:
    with serving(lambda server: server.motors.ticks.sum() >= 10) as server:
        person = Person()
        ours = drive(server, person)
        person.wants += [ours.ask_for_episode, lambda: ours.ask_to_end("window")]
        ours.run(Goal(seed=5))
        heard = [server.reception.take(*received) for received in server.port.drain()]
    assert ours.why_over == "window"
    assert [each for each in heard if isinstance(each, Reset)] == [Reset(episode=2, seed=6)]


def test_a_robot_that_takes_no_command_ends_the_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "START_NS", 200 * MS)
    with serving(lambda server: False) as server:
        monkeypatch.setattr(server.motors, "take", lambda *_: None)
        ours = drive(server)
        with pytest.raises(RobotError, match=r"expected it to start within 0.2 s, got none of the"):
            ours.run(Goal())
    assert ours.log.newest is not None
    assert (ours.log.newest.phase, ours.log.episodes_begun) == (Phase.STOPPED, 1)


def test_a_robot_that_keeps_time_is_not_driven_in_lockstep() -> None:
    message = r"expected one that waits .*, got one that keeps"
    with serving(lambda server: False) as server, pytest.raises(RobotError, match=message):
        drive(server, lockstep=True)
