"""A robot's own loop: ticks, commands at their time, its watchdog, and who may talk to it."""

import time
from typing import Any

import numpy as np
import pytest

from tests.realtime import (
    DESCRIPTION,
    DT,
    MS,
    FakeClock,
    FakePort,
    PretendPlanner,
    PretendRobot,
    command,
)
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import Outcome, Phase, Reading, Robot, Rung
from wmrobot.runtime.server import Server, describe
from wmrobot.runtime.wire.datagrams import encode
from wmrobot.runtime.wire.greeting import ALIVE_NS, greet
from wmrobot.runtime.wire.messages import (
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Message,
    Refused,
    Reset,
    Status,
    Stop,
    Welcome,
)
from wmrobot.runtime.wire.port import Port


class Rig:
    """A served robot, a planner, and a clock."""

    def __init__(self) -> None:
        self.clock, self.port, self.robot = FakeClock(), FakePort(), PretendRobot()
        self.server = Server(self.robot, self.port, clock=self.clock)
        self.begin = self.clock.now
        self.planner = PretendPlanner(self.port)
        self.sequence = 0

    def until(self, end: int) -> list[Reading]:
        """Let time pass, waking when the server wants to."""
        due = self.server.step()
        while due <= end:
            self.clock.now = max(due, self.clock.now)
            due = self.server.step()
        self.clock.now = end
        self.server.step()
        return self.planner.heard()

    def wait(self, ms: float) -> list[Reading]:
        return self.until(self.clock.now + int(ms * MS))

    def say(self, message: Message) -> None:
        self.planner.say(message)
        self.server.step()

    def command(self, *actions: float, after: int = 0, **changes: Any) -> None:
        """A command that takes effect `after` [ns] from now; 0 is at once."""
        self.sequence += 1
        when = self.clock.now + after if after else 0
        told = {"sequence": self.sequence, "made_from": self.server._sequence, **changes}
        self.say(command(*actions, when_ns=when, **told))

    def start(self) -> None:
        """A session, an episode, and the first command at its second tick."""
        self.planner.hello()
        self.wait(20)
        self.planner.heard()
        self.say(Reset(episode=self.server._episode + 1))
        (ready,) = self.wait(1)
        assert ready.phase is Phase.READY
        self.command(0.1, after=19 * MS)
        (running,) = self.wait(20)
        assert running.phase is Phase.RUNNING
        assert running.decision == 0
        self.robot.notes.clear()


def test_readings_come_at_every_tick_by_the_robots_clock() -> None:
    rig = Rig()
    rig.planner.hello()
    rig.until(rig.begin)
    rig.planner.heard()
    readings = rig.until(rig.begin + 10 * DT + 5 * MS)
    assert [r.time_ns - rig.begin for r in readings] == [k * DT for k in range(1, 11)]
    assert [r.sequence for r in readings] == list(range(1, 11))
    np.testing.assert_array_equal(readings[0].sensors, np.array([0.5, -0.25], np.float32))


def test_a_command_takes_effect_at_its_time() -> None:
    rig = Rig()
    rig.start()
    now = rig.clock.now
    rig.command(0.5, -0.5, after=7 * MS)
    rig.wait(6.9)
    assert rig.robot.notes == []
    rig.wait(0.2)
    assert rig.robot.notes == [("apply", (0.5, now + 7 * MS))]
    rig.wait(20)
    assert rig.robot.notes[1:] == [("apply", (-0.5, now + 27 * MS))]


def test_a_late_command_takes_effect_at_once_and_a_very_late_one_never() -> None:
    rig = Rig()
    rig.start()
    rig.command(0.5, after=-5 * MS)
    assert rig.robot.notes == [("apply", (0.5, rig.clock.now))]  # not from when it was due
    rig.command(0.6, after=-25 * MS)
    assert len(rig.robot.notes) == 1
    rig.command(0.6, 0.7, after=-25 * MS)  # what is left of a plan
    assert rig.robot.notes[1][1][0] == pytest.approx(0.7)
    rig.command(0.8)  # no time at all
    assert rig.robot.notes[2][1][0] == pytest.approx(0.8)
    assert rig.server.motors.refused == {"stale": 1}


def test_ticks_are_counted_by_what_covers_them() -> None:
    rig = Rig()
    rig.start()  # one fresh tick
    for rung in (Rung.FRESH, Rung.PRIOR, Rung.FRESH):
        rig.command(0.5, after=19 * MS, rung=rung)
        rig.wait(20)
    rig.command(0.5, 0.6, after=19 * MS)
    for _ in range(4):
        rig.say(Heartbeat())
        rig.wait(20)
    # fresh, its shifted second action, and that one held
    assert rig.server.motors.ticks.tolist() == [4, 1, 1, 2, 0]


def test_a_command_that_misses_its_tick_by_a_millisecond_is_a_miss() -> None:
    rig = Rig()
    rig.start()
    due = rig.clock.now + 19 * MS
    rig.until(due + 1 * MS)
    rig.command(0.5, after=-1 * MS)
    rig.command(0.5, after=19 * MS)
    (reading,) = rig.wait(20)
    assert reading.ticks == (2, 0, 0, 1, 0)
    assert reading.misses == 1


def test_watchdog_stops_the_motors_in_100_ms_and_they_stay_stopped() -> None:
    rig = Rig()
    rig.start()
    rig.command(*[0.5] * 10, after=1 * MS)
    heard = rig.clock.now
    rig.until(heard + 99 * MS)
    assert ("stop", None) not in rig.robot.notes
    rig.until(heard + 100 * MS)
    assert rig.robot.notes[-1] == ("stop", None)
    rig.wait(20)
    rig.command(0.5)
    (reading,) = rig.wait(20)
    assert (reading.phase, reading.command.tolist()) == (Phase.STOPPED, [0.0])
    rig.say(Reset(episode=2))
    assert rig.wait(1)[0].phase is Phase.READY


def test_heartbeats_do_not_keep_an_old_command_alive_for_ever() -> None:
    rig = Rig()
    rig.start()
    for _ in range(30):
        rig.say(Heartbeat())
        rig.wait(20)
    assert rig.server.motors.phase is Phase.STOPPED
    assert rig.server.motors.stops["held_too_long"] == 1


def test_emergency_stop_survives_a_reset_but_not_a_person() -> None:
    rig = Rig()
    rig.start()
    rig.say(EmergencyStop())
    rig.say(Reset(episode=2))
    assert rig.wait(20)[-1].phase is Phase.STOPPED
    rig.say(Clear())
    rig.say(Reset(episode=2))
    assert rig.wait(1)[0].phase is Phase.READY


def test_a_command_of_another_episode_starts_nothing() -> None:
    rig = Rig()
    rig.start()
    old = rig.server._sequence
    rig.say(Reset(episode=2))
    rig.command(0.5, after=1 * MS, made_from=old)
    rig.command(0.5, after=1 * MS, made_from=old + 1000)
    assert rig.wait(30)[-1].phase is Phase.READY
    assert rig.server.motors.refused == {"other_episode": 2}


def test_a_reset_that_is_repeated_resets_once() -> None:
    rig = Rig()
    rig.start()
    for _ in range(3):
        rig.say(Reset(episode=2, seed=9))
    assert [note for note in rig.robot.notes if note[0] == "reset"] == [("reset", 9)]


def test_the_end_of_an_episode_brings_the_motors_to_rest() -> None:
    rig = Rig()
    rig.start()
    rig.robot.next_outcome = Outcome(1.5, terminated=True)
    (reading,) = rig.wait(20)
    assert (reading.phase, reading.decision, reading.outcome.reward) == (Phase.ENDED, 1, 1.5)
    assert rig.robot.notes[-1] == ("stop", None)
    assert sum(reading.ticks) == 1  # the end is no tick that needs a plan


def test_ticks_that_are_slept_through_are_skipped_and_counted() -> None:
    rig = Rig()
    rig.start()
    before, due = rig.server._sequence, rig.server._due
    rig.clock.now += 95 * MS
    rig.server.motors.feed(rig.clock.now)  # it is the robot that slept
    rig.server.step()
    (reading,) = rig.planner.heard()
    assert (reading.sequence, reading.time_ns) == (before + 4, due + 3 * DT)
    assert (reading.decision, reading.ticks) == (4, (1, 0, 0, 4, 0))
    assert rig.server.status()["skipped_ticks"] == 3


def test_a_reading_that_is_not_finite_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig()
    rig.start()
    for bad in ([np.nan, 0.0], [0.0], "x", [[0.0], [1.0]]):
        rig.robot.sensor = bad
        assert rig.wait(20) == []
    assert rig.server.status()["unreadable"] == 4
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("robot.read(): ")


def test_an_error_of_the_robots_own_code_is_not_taken_for_a_reading() -> None:
    rig = Rig()
    rig.start()

    def read() -> object:
        raise ValueError("not enough values to unpack")

    rig.robot.read = read  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="unpack"):
        rig.wait(20)


def test_a_pose_comes_with_its_reading_and_never_instead_of_it() -> None:
    rig = Rig()
    rig.robot.pose_dim = 3
    rig.server = Server(rig.robot, rig.port, clock=rig.clock)
    rig.start()
    for pose in ([0.5, -1.0, 2.0], [np.nan, 0.0, 0.0], [0.0], [None] * 3, "x"):
        rig.robot.place = pose
        (reading,) = rig.wait(20)
        told = [] if pose != [0.5, -1.0, 2.0] else pose
        assert reading.pose.tolist() == told
        assert reading.sensors.tolist() == [0.5, -0.25]
    assert rig.server.status()["poses_left_out"] >= 4


@pytest.mark.parametrize("pose_dim", [-1, 1025, 2.0, True, None])
def test_an_absurd_pose_is_refused(pose_dim: Any) -> None:
    robot = PretendRobot()
    robot.pose_dim = pose_dim
    with pytest.raises(RobotError, match=r"robot\.pose_dim: expected a whole number, 0 to 1024"):
        describe(robot)


def test_a_running_session_is_not_taken_over_and_a_silent_one_is() -> None:
    rig = Rig()
    rig.start()
    other = PretendPlanner(rig.port, ("127.0.0.1", 3))
    other.hello(8)
    rig.server.step()
    assert [r.reason for r in other.heard(Refused)] == ["it is connected to another"]
    assert rig.server.motors.phase is Phase.RUNNING
    rig.clock.now += ALIVE_NS + 1
    rig.server.step()
    other.hello(9)
    rig.server.step()
    other.heard()
    assert other.session is not None
    assert rig.server.motors.phase is Phase.IDLE
    rig.say(Stop())  # the first one is a stranger now
    assert rig.server.reception.dropped["stranger"] == 1


def test_a_welcome_from_another_address_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmrobot.runtime.wire.greeting.draw_session", lambda: 7)
    asking, robot, stranger = Port(), Port(), Port()
    for number, sender in ((1, stranger), (2, robot)):
        welcome = Welcome(session=number, description=DESCRIPTION)
        sender.send(encode(welcome, session=7, sequence=1), asking.address)
    assert greet(asking, robot.address, [Reading]).session.number == 2
    for each in (asking, robot, stranger):
        each.close()


def test_a_greeting_that_is_repeated_gets_the_same_session() -> None:
    rig = Rig()
    rig.planner.hello()
    rig.server.step()
    rig.planner.heard()
    assert rig.planner.session is not None
    first = rig.planner.session.number
    rig.planner.hello()
    rig.server.step()
    rig.planner.heard()
    assert rig.planner.session.number == first


def test_leaving_stops_the_motors() -> None:
    rig = Rig()
    rig.start()
    rig.say(Bye())
    assert rig.robot.notes[-1] == ("stop", None)
    assert not rig.server.reception.is_open


def test_a_new_session_begins_with_nothing_received() -> None:
    rig = Rig()
    rig.start()
    assert rig.wait(20)[-1].received == 1
    rig.say(Bye())
    rig.planner.hello(nonce=8)
    assert [each.received for each in rig.wait(40)] == [0, 0]


def test_one_who_was_silent_and_comes_back_is_alone_again() -> None:
    rig = Rig()
    rig.start()
    rig.clock.now += ALIVE_NS
    rig.server.step()
    assert not rig.port.is_exclusive
    rig.say(Heartbeat())
    assert rig.port.is_exclusive


def test_rubbish_is_counted_and_the_loop_goes_on() -> None:
    rig = Rig()
    rig.start()
    for data in (b"", b"WMRD", bytes(100), b"WMRD\x01\x01" + bytes(90)):
        for address in (rig.planner.address, ("127.0.0.1", 9)):
            rig.port.inbox.append((data, address))
    rig.command(0.5, after=19 * MS)
    assert rig.wait(20)[-1].ticks[Rung.FRESH] == 2
    assert sum(rig.server.reception.dropped.values()) == 8


def test_status_is_told_every_second_and_at_the_end_of_an_episode() -> None:
    rig = Rig()
    rig.planner.hello()
    rig.wait(20)
    rig.planner.heard()
    rig.clock.now += 1000 * MS
    rig.server.step()
    (status,) = rig.planner.heard(Status)
    assert (status.source, status.values["phase"]) == ("robot", "IDLE")
    rig.start()
    rig.robot.next_outcome = Outcome(terminated=True)
    rig.clock.now += 20 * MS
    rig.server.step()
    (status,) = rig.planner.heard(Status)
    assert (status.values["phase"], status.values["ticks"]["FRESH"]) == ("ENDED", 1)


def test_robot_that_lacks_names_is_told_what_is_missing() -> None:
    class Nameless(PretendRobot):
        sensors: Any = "position"

    with pytest.raises(RobotError, match=r"robot\.sensors: expected a list of names"):
        describe(Nameless())


def test_a_robot_class_is_short() -> None:
    class Mine(Robot):
        joints, sensors, actuators = ("hinge",), ("angle",), ("motor",)
        control_dt = 0.02
        voltage = 0.0

        def read(self) -> list[float]:
            return [self.voltage]

        def apply(self, action: np.ndarray, when_ns: int) -> None:
            self.voltage = 6.0 * float(action[0])

        def stop(self) -> None:
            self.voltage = 0.0

    assert describe(Mine()).sensors == ("angle",)


@pytest.mark.parametrize("method", ["read", "apply"])
def test_motors_are_stopped_when_the_robots_own_code_fails(method: str) -> None:
    robot, port = PretendRobot(), Port()

    def fail(*args: object) -> None:
        raise OSError("the cable is off")

    setattr(robot, method, fail)
    server = Server(robot, port)
    now = time.monotonic_ns()
    server.motors.ready()
    server.motors.take(command(0.5, when_ns=now), now)
    with pytest.raises(OSError, match="the cable is off"):
        server.run()
    assert robot.notes[-1] == ("stop", None)
    port.close()
