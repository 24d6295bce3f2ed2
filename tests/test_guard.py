"""The guard: what it lets through, what it does when nothing comes, and when it lets go."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.realtime import DESCRIPTION, DT, MS, FakeClock, command
from wmrobot.runtime.clocks import Crossing
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.guard_loop import parse_address
from wmrobot.runtime.limits import Limiter, Limits, read_limits
from wmrobot.runtime.messages import (
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Hello,
    Message,
    Reset,
    Stop,
)
from wmrobot.runtime.robot import Command, Phase, Reading, Rung
from wmrobot.runtime.safety import (
    HEARTBEAT_NS,
    PLAN_TOO_OLD_NS,
    PLANNER_SILENT_NS,
    SPARE_NS,
    Guard,
    State,
)


class Rig:
    """A guard, a clock, and a robot whose clock is the same and whose way is of no length."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008
        self.clock = FakeClock()
        self.log: list[tuple[str, str]] = []
        self.guard = Guard(
            Limiter(limits, DESCRIPTION), DT, lambda t: self.log.append((t.after.value, t.reason))
        )
        self.tick = 0
        self.plans = 0

    def reading(self, phase: Phase = Phase.RUNNING, **changes: Any) -> list[Message]:
        self.tick += 1
        told: dict[str, Any] = {
            "sensors": np.zeros(2, np.float32),
            "command": np.zeros(1, np.float32),
            "episode": 1,
        }
        reading = Reading(
            sequence=self.tick, time_ns=self.clock.now, phase=phase, **(told | changes)
        )
        return self.guard.robot(reading, self.clock.now)

    def plan(self, *actions: float, after: int = DT, **changes: Any) -> list[Message]:
        """A plan made from the last reading, `after` [ns] from now."""
        self.plans += 1
        told = {"sequence": self.plans, "made_from": self.tick, **changes}
        return self.guard.planner(
            command(*actions, when_ns=self.clock.now + after, **told), self.clock.now
        )

    def ready(self) -> None:
        self.guard.planner(Hello(), self.clock.now)
        self.guard.planner(Reset(episode=1), self.clock.now)
        self.reading(Phase.READY)
        assert self.guard.state is State.READY

    def until(self, end: int) -> list[tuple[int, Message]]:
        """Let time pass, looking whenever the guard asks to; what it said, and when."""
        said = []
        while (due := self.guard.next_ns) is not None and due <= end:
            self.clock.now = max(due, self.clock.now)
            said += [(self.clock.now, message) for message in self.guard.watch(self.clock.now)]
        self.clock.now = end
        return said


def commands(messages: Sequence[Message]) -> list[Command]:
    return [message for message in messages if isinstance(message, Command)]


def test_a_fresh_plan_goes_through_at_once_its_first_action_alone() -> None:
    rig = Rig()
    rig.ready()
    (told,) = commands(rig.plan(0.5, 0.6, 0.7))
    assert (told.when_ns, told.rung, told.sequence) == (rig.clock.now + DT, Rung.FRESH, 1)
    np.testing.assert_array_equal(told.actions, np.array([[0.5]], np.float32))
    assert rig.guard.state is State.ACTIVE


def test_without_new_plans_the_old_one_is_followed_then_held_then_given_up() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.1, 0.2, 0.3)
    begin = rig.clock.now + DT
    said = []
    for _ in range(14):  # the planner lives, and the robot tells, but no plan comes
        said += rig.until(rig.clock.now + DT)
        rig.reading()
        rig.guard.planner(Heartbeat(), rig.clock.now)
    told = [(time, each) for time, each in said if isinstance(each, Command)]
    assert [each.when_ns - begin for _, each in told] == [k * DT for k in range(1, 10)]
    assert all(time <= each.when_ns - SPARE_NS for time, each in told)
    assert [each.rung for _, each in told] == [Rung.SHIFTED] * 2 + [Rung.HOLD] * 7
    np.testing.assert_allclose(
        [float(each.actions[0, 0]) for _, each in told], [0.2] + [0.3] * 8, rtol=1e-6
    )
    stop = next(time for time, each in said if isinstance(each, Stop))
    assert stop <= begin + PLAN_TOO_OLD_NS
    assert rig.guard.state is State.SAFE_STOP
    assert rig.log[-2:] == [
        ("degraded", "no plan in time: SHIFTED"),
        ("safe_stop", "the plan is too old"),
    ]


def test_a_silent_planner_stops_the_robot_in_100_ms_and_it_stays_stopped() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(*[0.5] * 20)
    heard = rig.clock.now
    said = []
    for _ in range(4):
        said += rig.until(rig.clock.now + DT)
        rig.reading()
    said += rig.until(heard + PLANNER_SILENT_NS)
    time, stop = said[-1]
    assert isinstance(stop, Stop)
    assert time - heard == PLANNER_SILENT_NS
    rig.reading(Phase.STOPPED)
    assert commands(rig.plan(0.5)) == []  # it has come back, and is not asked
    assert rig.guard.state is State.SAFE_STOP
    assert rig.guard.refused == {"not_ready": 1}
    assert rig.guard.next_ns is None  # nothing to wait for
    (reset,) = rig.guard.planner(Reset(episode=2), rig.clock.now)
    assert isinstance(reset, Reset)
    rig.reading(Phase.READY, episode=2)
    assert commands(rig.plan(0.5)) != []


def test_stop_is_repeated_until_the_robot_has_stopped() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    rig.reading()
    rig.guard.planner(Stop(reason="enough"), rig.clock.now)
    assert len(rig.until(rig.clock.now + 100 * MS)) == 5
    rig.reading(Phase.STOPPED)
    assert rig.until(rig.clock.now + 100 * MS) == []


def test_emergency_stop_waits_for_a_person() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    (told,) = rig.guard.planner(EmergencyStop(reason="smoke"), rig.clock.now)
    assert isinstance(told, EmergencyStop)
    rig.reading(Phase.STOPPED)
    assert rig.guard.planner(Reset(episode=2), rig.clock.now) == []
    rig.guard.planner(Stop(), rig.clock.now)
    assert rig.guard.state is State.ESTOP
    (cleared,) = rig.guard.planner(Clear(), rig.clock.now)
    assert isinstance(cleared, Clear)
    assert rig.guard.state is State.HOLD
    assert [type(m) for m in rig.guard.planner(Reset(episode=2), rig.clock.now)] == [Reset]


def test_what_is_not_finite_is_not_clipped_but_refused() -> None:
    rig = Rig()
    rig.ready()
    for bad in (np.nan, np.inf, -np.inf):
        assert commands(rig.plan(0.0, bad)) == []
        assert commands(rig.plan(bad, 0.0)) == []
    assert rig.guard.refused == {"not_finite": 6}
    assert rig.guard.state is State.READY
    assert np.isnan(np.clip(np.nan, -1, 1))  # why it has to be asked


@pytest.mark.parametrize(
    ("reason", "plan"),
    [("stale", {"made_from": 77}), ("early", {"after": 2000 * MS})],
)
def test_a_command_from_nowhere_or_for_later_is_refused(reason: str, plan: dict[str, Any]) -> None:
    rig = Rig()
    rig.ready()
    assert commands(rig.plan(0.5, **plan)) == []
    assert rig.guard.refused == {reason: 1}


def test_an_old_reading_makes_no_fresh_command() -> None:
    rig = Rig()
    rig.ready()
    rig.clock.now += 1001 * MS
    assert commands(rig.plan(0.5)) == []
    assert rig.guard.refused == {"stale": 1}


def test_a_decision_that_no_plan_is_for_is_bridged() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.1, 0.2, 0.3, after=2 * DT)
    rig.clock.now += DT
    rig.reading()
    told = commands(rig.plan(0.9, after=3 * DT))  # two decisions after the first, not one
    assert [each.rung for each in told] == [Rung.SHIFTED, Rung.FRESH]
    assert [each.when_ns - rig.clock.now for each in told] == [2 * DT, 3 * DT]
    assert rig.guard.state is State.ACTIVE


def test_after_a_flood_the_next_plan_is_followed_at_once() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.1, 0.2)
    for _ in range(5):
        rig.until(rig.clock.now + DT)
        rig.reading()
        for _ in range(100):
            rig.plan(np.nan)
    assert rig.guard.state is State.DEGRADED
    rig.plan(0.4)
    assert rig.guard.state is State.ACTIVE


def test_a_slow_robot_hears_heartbeats_between_commands() -> None:
    rig = Rig()
    rig.ready()
    rig.guard._dt = 10 * DT
    rig.plan(0.5, after=10 * DT)
    begin = rig.clock.now
    said = rig.until(begin + 90 * MS)
    assert [time - begin for time, _ in said] == [k * HEARTBEAT_NS for k in (1, 2, 3)]
    assert all(isinstance(each, Heartbeat) for _, each in said)


def test_plans_for_at_once_are_waited_for_half_a_decision_longer() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5, after=-rig.clock.now)  # a time of 0
    begin = rig.clock.now
    assert commands([message for _, message in rig.until(begin + DT + DT // 2 - 1)]) == []
    ((time, late),) = rig.until(begin + DT + DT // 2)
    assert isinstance(late, Command)
    assert (time - begin, late.rung) == (DT + DT // 2, Rung.HOLD)


def test_an_episode_that_ends_is_no_stop() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    assert rig.reading(Phase.ENDED) == []
    assert rig.guard.state is State.HOLD


def test_robot_out_of_range_is_stopped() -> None:
    rig = Rig(Limits(position={"position": (-1.0, 1.0)}))
    rig.ready()
    rig.plan(0.5)
    assert rig.reading(sensors=np.array([1.0, 9.0], np.float32)) == []
    (stop,) = rig.reading(sensors=np.array([1.01, 0.0], np.float32))
    assert isinstance(stop, Stop)
    assert rig.log[-1] == ("safe_stop", "position is out of its range")


def test_nan_is_out_of_range() -> None:
    limiter = Limiter(Limits(velocity={"velocity": (-1.0, 1.0)}), DESCRIPTION)
    assert limiter.breach(np.array([0.0, np.nan], np.float32)) == "velocity"


def test_a_new_planner_ends_an_emergency_and_stops_first() -> None:
    rig = Rig()
    rig.ready()
    rig.guard.planner(EmergencyStop(), rig.clock.now)
    told = rig.guard.planner(Hello(), rig.clock.now)
    assert [type(each) for each in told] == [Stop, Clear]
    assert rig.guard.state is State.HOLD


messages = st.one_of(
    st.builds(
        lambda actions, after, made, rung: (actions, after, made, rung),
        st.lists(st.floats(width=32), min_size=1, max_size=4),
        st.integers(-500, 1500),
        st.integers(0, 3),
        st.sampled_from(Rung),
    ),
    st.sampled_from(
        [Heartbeat(), Reset(episode=1), Stop(), EmergencyStop(), Clear(), Bye(), Hello()]
    ),
    st.sampled_from(Phase),
    st.integers(0, 120),
)


@given(st.lists(messages, max_size=60))
def test_whatever_happens_the_robot_gets_sound_commands_only_while_it_may_move(
    happenings: list[Any],
) -> None:
    limits = Limits(action={"motor": (-0.5, 0.25)}, slew_per_s={"motor": 10.0})
    rig = Rig(limits)
    rig.ready()
    last, last_when, before = 0.0, 0, (0.0, 0)
    for each in happenings:
        moving = rig.guard.state in (State.READY, State.ACTIVE, State.DEGRADED)
        match each:
            case tuple():
                actions, after, made, rung = each
                told = rig.plan(
                    *actions, after=after * MS, made_from=max(rig.tick - made, 0), rung=rung
                )
            case Phase():
                told = rig.reading(each)
            case int():
                told = [message for _, message in rig.until(rig.clock.now + each * MS)]
            case _:
                told = rig.guard.planner(each, rig.clock.now)
                if isinstance(each, Reset):
                    last, last_when, before = 0.0, 0, (0.0, 0)
        for sent in commands(told):
            assert moving
            value = float(sent.actions[0, 0])
            assert np.isfinite(value)
            assert -0.5 <= value <= 0.25
            past = before if sent.when_ns <= last_when else (last, last_when)
            assert abs(value - past[0]) <= 10.0 * 0.02 + 1e-6
            before, (last, last_when) = past, (value, sent.when_ns)


def limited(limits: Limits, actions: Sequence[float], step: int = DT) -> list[float]:
    limiter = Limiter(limits, DESCRIPTION)
    return [
        float(limiter.limit(np.array([action], np.float32), (k + 1) * step)[0])
        for k, action in enumerate(actions)
    ]


def test_without_limits_an_action_is_not_touched() -> None:
    actions = [float(np.float32(a)) for a in (0.1, -1.0, 1.0, 0.3333)]
    assert limited(Limits(), actions) == actions


def test_slew_is_per_second() -> None:
    found = limited(Limits(slew_per_s={"motor": 5.0}), [1.0] * 3 + [0.25])
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.25], rtol=1e-6)


def test_low_pass_is_first_order() -> None:
    found = limited(Limits(low_pass_hz=2.0), [1.0] * 50)
    time = DT * 1e-9 * np.arange(1, 51)
    np.testing.assert_allclose(found, 1 - np.exp(-2 * np.pi * 2.0 * time), rtol=1e-5)


def test_effort_is_a_mean_square_over_its_window() -> None:
    found = np.array(limited(Limits(effort={"motor": 0.5}, effort_window_s=1.0), [1.0] * 400))
    free = np.log(1 / (1 - 0.25))  # [s] until 1 - exp(-t) reaches 0.25
    assert (found[: int(free / 0.02)] == 1.0).all()
    np.testing.assert_allclose(found[-100:], 0.5, atol=1e-3)


def test_an_action_for_the_same_time_replaces_the_last_one() -> None:
    limiter = Limiter(Limits(slew_per_s={"motor": 5.0}), DESCRIPTION)
    limiter.limit(np.array([1.0], np.float32), DT)
    again = limiter.limit(np.array([-1.0], np.float32), DT)
    np.testing.assert_allclose(again, [-0.1], rtol=1e-6)  # from rest, not from 0.1


def test_interventions_are_counted() -> None:
    limiter = Limiter(Limits(action={"motor": (-0.5, 0.5)}), DESCRIPTION)
    for action in (0.4, 0.6, -0.7):
        limiter.limit(np.array([action], np.float32), DT)
    assert limiter.interventions == {"action": 2}


def test_two_clocks_are_told_apart_from_the_way_between_them() -> None:
    crossing = Crossing()
    offset, way = 5_000 * MS, 3 * MS
    for k in range(100):
        mine = k * DT
        crossing.arrived(mine + offset, mine + way + (k % 5) * MS)
        crossing.reported(mine, mine + offset + way + (k % 7) * MS)
    assert crossing.theirs(0) == offset
    assert crossing.mine(offset) == 0
    assert crossing.slowest_up_ns == way + 6 * MS


def test_limits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    document = {
        "action": {"motor": [-0.8, 0.8]}, "slew_per_s": {"motor": 40.0}, "effort": {"motor": 0.7},
        "effort_window_s": 2.0, "low_pass_hz": 20.0, "position": {"position": [-1.9, 1.9]},
        "velocity": {"velocity": [-3, 3]},
    }  # fmt: skip
    path.write_text(json.dumps(document))
    limits = read_limits(path)
    Limiter(limits, DESCRIPTION)
    assert limits.action == {"motor": (-0.8, 0.8)}
    assert (limits.low_pass_hz, limits.effort_window_s) == (20.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"slew": 1}', "no limit named 'slew'"),
        ('{"action": {"motor": [0.5, -0.5]}}', "low < high"),
        ('{"action": {"motor": [NaN, 0.5]}}', "expected finite numbers"),
        ('{"action": {"motr": [-0.5, 0.5]}}', "no 'motr' on this robot. Known: motor"),
        ('{"action": {"motor": [0.1, 0.5]}}', "a robot at rest is at 0"),
        ('{"position": {"height": [0, 1]}}', "no 'height' on this robot"),
        ("{", "expected JSON"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(RobotError, match=message):
        Limiter(read_limits(path), DESCRIPTION)


@pytest.mark.parametrize("text", ["robot", ":1", "host:", "host:99999", "a:b", "host:-1"])
def test_an_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RobotError, match="expected host:port"):
        parse_address(text)


def test_an_address_is_read() -> None:
    assert parse_address("udp://127.0.0.1:7000") == ("127.0.0.1", 7000)
