"""The guard: what it lets through, what it does when nothing comes, and when it lets go."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.realtime import DESCRIPTION, DT, MS, FakeClock, PretendRobot, command
from wmrobot.runtime.bundle.description import (
    ActionTerm,
    Description,
    SearchSizes,
    SensorTerm,
    StateDescription,
)
from wmrobot.runtime.errors import BundleError, RobotError
from wmrobot.runtime.guard.loop import check_robot, parse_address
from wmrobot.runtime.guard.safety import (
    HEARTBEAT_NS,
    PLAN_TOO_OLD_NS,
    PLANNER_SILENT_NS,
    ROBOT_SILENT_NS,
    SPARE_NS,
    Guard,
    State,
)
from wmrobot.runtime.limits import Limiter, Limits
from wmrobot.runtime.motors import Motors
from wmrobot.runtime.robot import Command, Phase, Reading, Rung
from wmrobot.runtime.wire.messages import (
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Hello,
    Message,
    Reset,
    Stop,
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
            told = self.guard.watch(self.clock.now)
            assert told or self.guard.next_ns != due, "it asks to be called, and does nothing"
            said += [(self.clock.now, message) for message in told]
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


def test_a_silent_robot_is_stopped_in_200_ms_though_plans_come() -> None:
    rig = Rig()
    rig.ready()
    heard = rig.clock.now
    rig.plan(0.5)
    said = []
    for _ in range(11):
        said += rig.until(rig.clock.now + DT)
        rig.plan(0.5)
    stops = [time - heard for time, each in said if isinstance(each, Stop)]
    assert stops[0] == ROBOT_SILENT_NS
    assert rig.log[-1] == ("safe_stop", "the robot is silent")


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.IDLE])
def test_a_robot_that_has_stopped_by_itself_is_not_started_again_by_plans(phase: Phase) -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    (told,) = rig.reading(phase)
    assert isinstance(told, Stop)
    assert rig.log[-1] == ("safe_stop", "the robot has stopped")
    assert commands(rig.plan(0.5)) == []


def test_a_planner_that_leaves_stops_the_robot() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    (told,) = rig.guard.planner(Bye(), rig.clock.now)
    assert isinstance(told, Stop)
    assert rig.log[-1] == ("safe_stop", "the planner has left")


def test_a_robot_that_is_ready_for_another_episode_is_not_ready() -> None:
    rig = Rig()
    rig.ready()
    rig.guard.planner(Reset(episode=2), rig.clock.now)
    rig.reading(Phase.READY, episode=1)
    assert rig.guard.state is State.HOLD
    assert commands(rig.plan(0.5)) == []
    rig.reading(Phase.READY, episode=2)
    assert rig.guard.state is State.READY


@pytest.mark.parametrize("phase", [Phase.ENDED, Phase.STOPPED])
def test_what_is_told_of_another_episode_stops_nothing(phase: Phase) -> None:
    rig = Rig(Limits(position={"position": (-1.0, 1.0)}))
    rig.ready()
    rig.plan(0.5)
    assert rig.reading(phase, episode=0, sensors=np.array([9.0, 0.0], np.float32)) == []
    assert rig.guard.state is State.ACTIVE


def test_a_new_planner_has_to_reset_before_it_commands() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.5)
    rig.guard.planner(Hello(), rig.clock.now)
    rig.reading(Phase.READY)  # of the episode that the last planner asked for
    assert rig.guard.state is State.HOLD
    assert commands(rig.plan(0.5)) == []


def test_a_cleared_emergency_waits_for_a_reset_too() -> None:
    rig = Rig()
    rig.ready()
    rig.guard.planner(EmergencyStop(), rig.clock.now)
    rig.guard.planner(Clear(), rig.clock.now)
    rig.reading(Phase.READY)  # told before the robot heard of it
    assert rig.guard.state is State.HOLD
    assert commands(rig.plan(0.5)) == []


def test_after_a_reset_the_motor_starts_from_rest() -> None:
    rig = Rig(Limits(slew_per_s={"motor": 5.0}))
    rig.ready()
    for _ in range(3):
        rig.plan(1.0)
        rig.until(rig.clock.now + DT)
    rig.guard.planner(Reset(episode=2), rig.clock.now)
    rig.reading(Phase.READY, episode=2)
    (told,) = commands(rig.plan(-1.0))
    assert float(told.actions[0, 0]) == pytest.approx(-0.1)  # 5/s for 20 ms


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


def test_a_plan_that_begins_after_the_old_one_is_too_old_comes_too_late() -> None:
    rig = Rig()
    rig.ready()
    rig.plan(0.1)
    told = rig.plan(0.9, after=DT + PLAN_TOO_OLD_NS + 2 * DT)
    assert [each.rung for each in commands(told)] == [Rung.HOLD] * 9
    assert isinstance(told[-1], Stop)
    assert rig.log[-1] == ("safe_stop", "the plan is too old")


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


@pytest.mark.parametrize("position", [-1.01, 1.01])
def test_robot_out_of_range_is_stopped(position: float) -> None:
    rig = Rig(Limits(position={"position": (-1.0, 1.0)}))
    rig.ready()
    rig.plan(0.5)
    assert rig.reading(sensors=np.array([1.0, 9.0], np.float32)) == []
    (stop,) = rig.reading(sensors=np.array([position, 0.0], np.float32))
    assert isinstance(stop, Stop)
    assert rig.log[-1] == ("safe_stop", "position is out of its range")


def test_a_new_planner_ends_an_emergency_and_stops_first() -> None:
    rig = Rig()
    rig.ready()
    rig.guard.planner(EmergencyStop(), rig.clock.now)
    told = rig.guard.planner(Hello(), rig.clock.now)
    assert [type(each) for each in told] == [Stop, Clear]
    assert rig.guard.state is State.HOLD


class Begin(NamedTuple):
    """What a planner says before an episode, the reset last, and what the robot tells of it."""

    says: tuple[Message, ...] = ()
    phase: Phase = Phase.READY
    lag: int = 0  # episodes that the robot is behind


class Plan(NamedTuple):
    actions: list[float]
    after_ms: int
    made: int  # readings ago
    rung: Rung


plans = st.builds(
    lambda value, after_ms: Plan([value, -value, 0.0], after_ms, 0, Rung.FRESH),
    st.floats(-1.5, 1.5, width=32),
    st.integers(-10, 60),
)
steps_ms = st.integers(0, 25)
begins = st.just(Begin())
rare = st.one_of(
    st.sampled_from(
        [
            Plan([np.nan, 0.0], 20, 0, Rung.FRESH),
            Plan([0.1, -np.inf, np.nan], 20, 0, Rung.FRESH),
            Plan([0.1], 300, 0, Rung.FRESH),  # begins when the one before it is too old
        ]
    ),
    st.builds(
        Plan,
        st.lists(st.floats(width=32), min_size=1, max_size=4),
        st.integers(-500, 1500),
        st.integers(0, 3),
        st.sampled_from(Rung),
    ),
    st.builds(
        Begin,
        st.sampled_from([(), (Clear(),), (Hello(),), (EmergencyStop(),)]),
        st.sampled_from(Phase),
        st.integers(0, 1),
    ),
    st.sampled_from([Heartbeat(), Stop(), EmergencyStop(), Clear(), Bye(), Hello()]),
    st.sampled_from(Phase),
    st.integers(26, 250),
)
happenings = st.integers(0, 19).flatmap(  # by how often: `one_of` would ask for all alike
    lambda k: plans if k < 8 else steps_ms if k < 15 else begins if k < 17 else rare
)


class Judge:
    """Whether the robot may move, by what the guard was told and has told; and how."""

    def __init__(self) -> None:
        self.asked: int | None = None  # episode of the reset that was passed on last
        self.may_move = self.has_moved = self.is_emergency = False
        self.heard_ns = 0  # the planner
        self.checked: Counter[str] = Counter()
        self.rest()

    def rest(self) -> None:
        self.last, self.last_when, self.before = 0.0, 0, (0.0, 0)

    def planner(self, message: Message, now: int) -> None:
        self.heard_ns = now
        match message:
            case Hello():
                self.asked, self.may_move, self.is_emergency = None, False, False
            case Clear():
                self.is_emergency = False
            case EmergencyStop():
                self.may_move, self.is_emergency = False, True
            case Stop() | Bye() | Reset():
                self.may_move = False

    def robot(self, phase: Phase, episode: int) -> None:
        if episode != self.asked:
            return
        if phase is Phase.READY and not self.may_move:
            self.may_move, self.has_moved = not self.is_emergency, False
        elif phase not in (Phase.READY, Phase.RUNNING) and self.has_moved:
            self.may_move = False

    def sent(self, message: Message, now: int) -> None:
        match message:
            case Reset():
                assert not self.is_emergency
                self.asked = message.episode
                self.rest()
            case Stop() | EmergencyStop():
                self.asked, self.may_move = None, False
            case Command():
                assert self.may_move
                assert now - self.heard_ns < PLANNER_SILENT_NS
                self._is_sound(message, now)
                self.has_moved = True
                self.checked["reset" if self.asked != 1 else "first"] += 1

    def _is_sound(self, sent: Command, now: int) -> None:
        value = float(sent.actions[0, 0])
        assert np.isfinite(value)
        assert -0.5 <= value <= 0.25
        replaces = sent.when_ns <= self.last_when and now < self.last_when
        past = self.before if replaces else (self.last, self.last_when)
        assert abs(value - past[0]) <= 10.0 * 0.02 + 1e-6
        self.before, (self.last, self.last_when) = past, (value, max(sent.when_ns, now))


def test_whatever_happens_the_robot_gets_sound_commands_only_while_it_may_move() -> None:
    checked: Counter[str] = Counter()

    @given(st.lists(happenings, min_size=20, max_size=60))
    def check(happenings: list[Any]) -> None:
        limits = Limits(action={"motor": (-0.5, 0.25)}, slew_per_s={"motor": 10.0})
        rig, judge = Rig(limits), Judge()
        episode = 0

        def hear(told: Sequence[Message]) -> None:
            for message in told:
                judge.sent(message, rig.clock.now)

        def say(message: Message) -> None:
            judge.planner(message, rig.clock.now)
            hear(rig.guard.planner(message, rig.clock.now))

        def read(phase: Phase, of: int) -> None:
            judge.robot(phase, of)
            hear(rig.reading(phase, episode=of))

        for each in [Begin(), *happenings]:
            match each:
                case Begin():
                    for message in each.says:
                        say(message)
                    episode += 1
                    say(Reset(episode=episode))
                    read(each.phase, episode - each.lag)
                case Plan():
                    judge.heard_ns = rig.clock.now
                    told = rig.plan(
                        *each.actions,
                        after=each.after_ms * MS,
                        made_from=max(rig.tick - each.made, 0),
                        rung=each.rung,
                    )
                    hear(told)
                case Phase():
                    read(each, episode)
                case int():
                    for time, message in rig.until(rig.clock.now + each * MS):
                        judge.sent(message, time)
                    read(Phase.RUNNING, episode)
                case _:
                    say(each)
        checked.update(judge.checked)

    check()
    assert checked["first"] > 100
    assert checked["reset"] > 100


@pytest.mark.parametrize("late_ms", [-25, -5, 3, 15, 25, 35])
def test_a_late_plan_moves_the_motor_no_faster_than_its_limit(late_ms: int) -> None:
    """Limited to 0.1 a decision; the motor is at 1 when the planner has stalled and wants 0."""
    rig = Rig(Limits(slew_per_s={"motor": 5.0}))
    motors = Motors(PretendRobot(), DT)
    motors.halt(Phase.READY, "test")
    rig.ready()
    moved: list[float] = []

    def tell(told: Sequence[Message]) -> None:
        for each in commands(told):
            motors.take(each, rig.clock.now)
        if motors.can_begin(rig.clock.now):
            motors.begin(rig.clock.now)
        motors.feed(rig.clock.now)
        motors.advance(rig.clock.now)
        moved.append(float(motors.command[0]))

    def pass_time(end: int) -> None:
        while rig.clock.now < end:
            rig.clock.now += MS
            tell(rig.guard.watch(rig.clock.now))
            if rig.clock.now % DT == 0:
                rig.reading()

    for _ in range(12):  # up to 1, a tenth a decision
        tell(rig.plan(1.0, 1.0, 1.0, 1.0))
        pass_time(rig.clock.now + DT)
    assert moved[-1] == 1.0
    due = rig.clock.now + 2 * DT  # when the next plan should have taken effect
    pass_time(due + late_ms * MS)
    tell(rig.plan(*[0.0] * 8, after=due - rig.clock.now))
    assert rig.guard.refused == {}
    pass_time(due + 6 * DT)
    assert np.abs(np.diff(moved)).max() <= 0.1 + 1e-6
    assert moved[-1] < 0.75  # and gets there


def test_a_plan_whose_time_is_over_is_refused() -> None:
    rig = Rig()
    rig.ready()
    assert commands(rig.plan(0.1, 0.2, after=-2 * DT)) == []
    assert rig.guard.refused == {"stale": 1}
    (told,) = commands(rig.plan(0.1, 0.2, 0.3, after=-2 * DT))
    assert (float(told.actions[0, 0]), told.when_ns) == (pytest.approx(0.3), rig.clock.now)


@pytest.mark.parametrize("text", ["robot", ":1", "host:", "host:99999", "a:b", "host:-1"])
def test_an_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RobotError, match="expected host:port"):
        parse_address(text)


def test_an_address_is_read() -> None:
    assert parse_address("udp://127.0.0.1:7000") == ("127.0.0.1", 7000)


def made_for(**changes: Any) -> Description:
    """A planner of the pretended robot."""
    term = SensorTerm(name="position", unit=None, scale=1.0, offset=0.0, clip=None)
    terms = (term, replace(term, name="velocity"))
    told: dict[str, Any] = {
        "task": "cart", "batch": 1, "precision": "fp32", "control_dt": 0.02,
        "state": StateDescription(terms=terms, history=1, previous_actions=0, dim=2),
        "pictures": None, "joints": ("slide",), "document": {},
        "actions": (
            ActionTerm(name="motor", unit=None, scale=1.0, offset=0.0, limits=(-1.0, 1.0)),
        ),
        "search": SearchSizes(
            horizon=3, iterations=1, num_samples=8, num_elites=2, num_prior=0, num_kept=0,
            num_q=2, latent_dim=4, noise_beta=0.0, max_std=1.0,
        ),
    }  # fmt: skip
    return Description(**(told | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": ("slide", "hinge")}, "joints: the planner was made for"),
        ({"control_dt": 0.05}, "control_dt: the planner was made for 0.02 s"),
        ({"sensors": ("velocity", "position")}, "sensors: the planner was made for"),
        ({"actuators": ("engine",)}, "actuators: the planner was made for"),
    ],
)
def test_a_robot_that_the_planner_was_not_made_for_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    check_robot(made_for(), DESCRIPTION)
    with pytest.raises(BundleError, match=message):
        check_robot(made_for(), replace(DESCRIPTION, **changes))
