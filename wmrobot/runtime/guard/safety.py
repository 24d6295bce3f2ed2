"""What stands between planner and robot, as a function of messages and time: no network in here.

Every command of the planner is checked and limited before the robot gets it. Where none comes in
time, the robot gets the next action of the newest plan, then the last action once more, and when
that plan is too old, a stop. See `State` for the rest.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.guard.states import MOVING, State, Transition, as_document
from wmrobot.runtime.limits import Limiter
from wmrobot.runtime.motor_timeline import FURTHEST_NS
from wmrobot.runtime.robot import Command, Phase, Reading, Rung
from wmrobot.runtime.wire.clocks import Crossing
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

MILLISECOND = 1_000_000
PLANNER_SILENT_NS = 100 * MILLISECOND
"""[ns] without a message of the planner, until the robot is stopped"""
ROBOT_SILENT_NS = 200 * MILLISECOND
"""[ns] without a reading of the robot, until it is told to stop"""
PLAN_TOO_OLD_NS = 200 * MILLISECOND
"""[ns] after a plan took effect, until it is too old to go on with"""
READING_TOO_OLD_NS = 1000 * MILLISECOND
"""[ns] between a reading and a command made from it, beyond which the command is not taken"""
HEARTBEAT_NS = 25 * MILLISECOND
"""[ns] after which the robot hears that all is well, where there was no command to send"""
INSIST_NS = 20 * MILLISECOND
"""[ns] after which a stop is sent again, until the robot has stopped"""
SPARE_NS = 1_500_000
"""[ns] that a shifted action is sent ahead of the latest time at which it would do"""
MOST_TRANSITIONS = 256


class Guard:
    """Decides what the robot is told.

    Args:
        limiter: Limits of this robot.
        control_dt_ns: Time between two of its ticks [ns].
        log: Called with every transition.
    """

    def __init__(
        self,
        limiter: Limiter,
        control_dt_ns: int,
        log: Callable[[Transition], None] = lambda transition: None,
    ) -> None:
        self.state = State.HOLD
        self.limiter = limiter
        self.refused: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.transitions: deque[Transition] = deque(maxlen=MOST_TRANSITIONS)
        self._dt = control_dt_ns
        self._too_old = max(PLAN_TOO_OLD_NS, 2 * control_dt_ns)
        self._robot_silent = max(ROBOT_SILENT_NS, 3 * control_dt_ns)
        self._log = log
        self._crossing = Crossing()
        self._times: dict[int, int] = {}  # of the newest readings, by their sequence [robot's ns]
        self._episode = 0  # that the planner has asked for
        self._phase = Phase.IDLE
        self._plan: Command | None = None
        self._next = 0  # which of its actions is to be sent next
        self._is_at_once = False
        self._sent_ns: dict[int, int] = {}  # when the newest plans left for the robot
        self._planner_ns = self._robot_ns = self._told_ns = 0
        self._reason = ""
        self._out: list[Message] = []

    def planner(self, message: Message, now: int) -> list[Message]:
        """Take a message of the planner; returns what the robot is told."""
        self._planner_ns = now
        match message:
            case Hello():
                self._episode, self._plan = 0, None
                # whoever starts a planner anew is the person that an emergency stop waits for
                self._out += [Stop(reason="another planner"), Clear()]
                self._go(State.HOLD, "a planner has connected", now)
            case Command():
                self._take(message, now)
            case Reset() if self.state is not State.ESTOP:
                self._episode, self._plan = message.episode, None
                self.limiter.reset()
                self._go(State.HOLD, "reset", now)
                self._out.append(message)
            case Stop():
                self._stop(f"planner: {message.reason}", now)
            case EmergencyStop():
                self._stop(f"planner: {message.reason}", now, State.ESTOP)
            case Clear() if self.state is State.ESTOP:
                self._episode = 0  # what the robot told before it heard is no reset
                self._go(State.HOLD, "cleared by a person", now)
                self._out.append(message)
            case Bye():
                self._stop("the planner has left", now)
        return self._flush(now)

    def robot(self, reading: Reading, now: int) -> list[Message]:
        """Take a reading; returns what the robot is told."""
        self._robot_ns = now
        self._phase = reading.phase
        self._crossing.arrived(reading.time_ns, now)
        self._times[reading.sequence] = reading.time_ns
        if len(self._times) > 128:
            del self._times[next(iter(self._times))]
        left = self._sent_ns.pop(reading.received, None)
        if left is not None:
            self._crossing.reported(left, reading.received_ns)
        if self.state is State.HOLD and reading.phase is Phase.READY:
            if reading.episode == self._episode:
                self._go(State.READY, "the robot is ready", now)
        elif self.state in MOVING and reading.episode == self._episode:
            breach = self.limiter.breach(reading.sensors)
            if breach is not None:
                self.limiter.interventions[f"range:{breach}"] += 1
                self._stop(f"{breach} is out of its range", now)
            elif reading.phase is Phase.ENDED:
                self._go(State.HOLD, "the episode has ended", now)
            elif reading.phase in (Phase.STOPPED, Phase.IDLE):
                self._stop("the robot has stopped", now)
        return self._flush(now)

    def watch(self, now: int) -> list[Message]:
        """Do what is due; returns what the robot is told. To be called at `next_ns`, or before."""
        if self.state in MOVING:
            self._watch_moving(now)
        elif self._must_insist and now - self._told_ns >= INSIST_NS:
            self._insist()
        return self._flush(now)

    @property
    def next_ns(self) -> int | None:
        """When something is due by this clock [ns]; None if nothing is."""
        if self.state in MOVING:
            return min(
                self._planner_ns + PLANNER_SILENT_NS,
                self._robot_ns + self._robot_silent,
                self._told_ns + HEARTBEAT_NS,
                self._latest_ns(),
            )
        if self._must_insist:
            return self._told_ns + INSIST_NS
        return None

    @property
    def _must_insist(self) -> bool:
        """Whether the robot should have stopped, and has not told so."""
        has_stopped = self._phase in (Phase.STOPPED, Phase.ENDED, Phase.IDLE)
        return self.state in (State.SAFE_STOP, State.ESTOP) and not has_stopped

    def status(self) -> dict[str, Any]:
        """Counters for reports."""
        return {
            "state": self.state.value,
            "reason": self._reason,
            "sent": dict(self.sent),
            "refused": dict(self.refused),
            "interventions": dict(self.limiter.interventions),
            "transitions": [as_document(each) for each in list(self.transitions)[-20:]],
        }

    def _take(self, command: Command, now: int) -> None:
        """Check a command and pass it on."""
        if self.state not in (State.READY, *MOVING):
            self.refused["not_ready"] += 1
            return
        made_ns = self._times.get(command.made_from)
        robot_now = self._crossing.theirs(now)
        if made_ns is None or robot_now - made_ns > READING_TOO_OLD_NS:
            self.refused["stale"] += 1
            return
        if command.when_ns > robot_now + FURTHEST_NS:
            self.refused["early"] += 1
            return
        begin = command.when_ns or robot_now + self._crossing.slowest_up_ns
        over = max((robot_now - begin) // self._dt, 0)  # its first actions, whose time is over
        if over >= len(command.actions):
            self.refused["stale"] += 1
            return
        if not np.isfinite(command.actions).all():  # NaN would pass a clip
            self.refused["not_finite"] += 1
            return
        when = begin + over * self._dt
        self._bridge(when, now)
        if self.state is State.SAFE_STOP:
            return
        action = self._limit(command.actions[over], when, now)
        self._plan = Command(
            sequence=command.sequence,
            made_from=command.made_from,
            when_ns=begin,
            actions=command.actions,
            rung=command.rung,
        )
        self._next, self._is_at_once = over + 1, not command.when_ns
        self._sent_ns[command.sequence] = now
        while len(self._sent_ns) > 64:
            del self._sent_ns[next(iter(self._sent_ns))]
        self._pass_on(action, when if command.when_ns else 0, command.rung)
        fresh = command.rung is Rung.FRESH
        self._go(
            State.ACTIVE if fresh else State.DEGRADED,
            "plans come" if fresh else f"the planner sends {command.rung.name}",
            now,
        )

    def _bridge(self, begin_ns: int, now: int) -> None:
        """Fill the decisions before a plan begins that no plan was made for."""
        while self._plan is not None and self.state in MOVING:
            due = self._plan.when_ns + self._next * self._dt
            if due + self._dt // 2 >= begin_ns:
                return
            self._go_on(now)

    def _watch_moving(self, now: int) -> None:
        if now - self._planner_ns >= PLANNER_SILENT_NS:
            self._stop("the planner is silent", now)
        elif now - self._robot_ns >= self._robot_silent:
            self._stop("the robot is silent", now)
        elif now >= self._latest_ns():
            self._go_on(now)
        elif now - self._told_ns >= HEARTBEAT_NS:
            self._out.append(Heartbeat())

    def _latest_ns(self) -> int:
        """By when the next action has to leave, if nothing newer comes [this clock's ns]."""
        assert self._plan is not None, "moving without a plan"
        due = self._crossing.mine(self._plan.when_ns + self._next * self._dt)
        if self._is_at_once:  # the next plan has no time to keep: be patient
            return due + self._dt // 2
        return due - self._crossing.slowest_up_ns - SPARE_NS

    def _go_on(self, now: int) -> None:
        """Nothing newer has come: the plan's next action, or the last one again."""
        plan = self._plan
        assert plan is not None, "moving without a plan"
        when = plan.when_ns + self._next * self._dt
        if when - plan.when_ns >= self._too_old:
            self._stop("the plan is too old", now)
            return
        rung = Rung.SHIFTED if self._next < len(plan.actions) else Rung.HOLD
        action = self._limit(plan.actions[min(self._next, len(plan.actions) - 1)], when, now)
        self._next += 1
        self._pass_on(action, when, rung)
        self._go(State.DEGRADED, f"no plan in time: {rung.name}", now)

    def _limit(self, action: FloatArray, when_ns: int, now: int) -> FloatArray:
        arrives_ns = self._crossing.theirs(now) + self._crossing.slowest_up_ns
        return self.limiter.limit(action, when_ns, arrives_ns)

    def _pass_on(self, action: FloatArray, when_ns: int, rung: Rung) -> None:
        assert self._plan is not None, "an action without a plan"
        self.sent[rung.name] += 1
        self._out.append(
            Command(
                sequence=self._plan.sequence,
                made_from=self._plan.made_from,
                when_ns=when_ns,
                actions=action[None],
                rung=rung,
            )
        )

    def _stop(self, reason: str, now: int, state: State = State.SAFE_STOP) -> None:
        """Stop the robot, and stay so; an emergency stays one."""
        if self.state is not State.ESTOP:
            self._go(state, reason, now)
        self._plan = None
        self._insist()

    def _insist(self) -> None:
        make = EmergencyStop if self.state is State.ESTOP else Stop
        self._out.append(make(reason=self._reason))

    def _go(self, state: State, reason: str, now: int) -> None:
        if state is self.state:
            return
        transition = Transition(now, self.state, state, reason)
        self.state, self._reason = state, reason
        self.transitions.append(transition)
        self._log(transition)

    def _flush(self, now: int) -> list[Message]:
        out, self._out = self._out, []
        if out:
            self._told_ns = now
        return out
