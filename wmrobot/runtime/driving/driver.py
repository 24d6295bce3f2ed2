"""Drives a robot: takes readings, sends commands, begins and ends episodes. One thread."""

import time
from dataclasses import dataclass
from typing import Protocol

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.driving.deadline import DeadlinePlanner, Decision
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.driving.flight import Recorder
from wmrobot.runtime.errors import ObservationError, RobotError
from wmrobot.runtime.guard.loop import check_robot
from wmrobot.runtime.quiet import tidy
from wmrobot.runtime.robot import Command, Phase, Reading
from wmrobot.runtime.wire.greeting import greet
from wmrobot.runtime.wire.messages import Bye, Heartbeat, Message, Reset, Status, Stop
from wmrobot.runtime.wire.port import Address, wait
from wmrobot.runtime.wire.stamped import StampedPort

TAKES = (Reading, Status)
HEARTBEAT_NS = 20_000_000
SILENCE_NS = 2_000_000_000
RESET_NS = 60_000_000_000  # a robot that drives to where it starts tells nothing meanwhile
START_NS = 5_000_000_000
FAREWELL_NS = 1_200_000_000  # each tells a status once a second
REPEAT_NS = 300_000_000
SECOND = 1_000_000_000
COUNTED = (Phase.READY, Phase.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """When a drive is over.

    Attributes:
        seconds: After so long; None never.
        episodes: After so many; None never.
        seed: Of a simulated robot's first episode; it rises by one for each.
        restart: Go on with a new episode after a stop for safety.
    """

    seconds: float | None = None
    episodes: int | None = None
    seed: int = 0
    restart: bool = False


class Onlooker(Protocol):
    """Is shown a drive, and must not hold it up."""

    def show(self, reading: Reading, decision: Decision | None, arrived_ns: int) -> None:
        """See what came of a reading, all that is urgent having been done.

        Args:
            reading: What the robot told.
            decision: What it led to; None where the robot neither moves nor is about to.
            arrived_ns: When the reading arrived, by `time.monotonic_ns`.
        """
        ...

    def idle(self, silent_ns: int) -> None:
        """Called now and then while no reading comes.

        Args:
            silent_ns: Time since the last one.
        """
        ...


class Driver:
    """One drive.

    Args:
        address: Of the guard, or of a robot that waits (lock-step).
        planner: Who plans.
        log: Is told of all that happens.
        recorder: Is told of every decision; None where nothing is to be recorded.
        onlooker: Is shown every reading; None where nobody looks.

    Raises:
        RobotError: Nobody answers, or the robot is not the planner's.
    """

    def __init__(
        self,
        address: Address,
        planner: DeadlinePlanner,
        log: DriveLog,
        recorder: Recorder | None = None,
        onlooker: Onlooker | None = None,
    ) -> None:
        self.planner, self.log, self._recorder = planner, log, recorder
        self._onlooker = onlooker
        self._port, self._address = StampedPort(), address
        try:
            self._session, self.robot = greet(self._port, address, TAKES)
            self._check()
        except BaseException:
            self._port.close()
            raise
        self.why_over: str | None = None
        self._sent_ns = self._heard_ns = self._asked_ns = time.monotonic_ns()
        self._began_ns: int | None = None
        self._ready_ns = self._sent_ns  # when the robot was last seen to do more than wait
        self._asked: Message = Reset(episode=1)  # what a robot that waits is asked again
        self._newest: tuple[Reading, FloatArray, int] | None = None
        self._unwanted: int | None = None  # number of an episode that is to end at once

    def ask_to_end(self, why: str) -> None:
        """End soon; may be called by a signal handler."""
        self.why_over = self.why_over or why

    def ask_for_episode(self) -> None:
        """Break off the present episode and begin the next one."""
        self._unwanted = None if self.log.newest is None else self.log.newest.episode

    def run(self, goal: Goal) -> None:
        """Drive until the goal is reached, and say goodbye.

        Raises:
            RobotError: The robot is silent.
        """
        self._heard_ns = time.monotonic_ns()
        self._asked = Reset(episode=1, seed=goal.seed)
        try:
            while self.why_over is None:
                wait([self._port], self._sent_ns + HEARTBEAT_NS)
                fresh = self._take_all()
                if fresh is not None:
                    self._react(*fresh, goal)
                else:
                    self._keep_alive()
                    self._look_up(goal)
        finally:
            self._say_goodbye()
            self._port.close()

    def _check(self) -> None:
        """Refuse a robot that the planner was not made for."""
        check_robot(self.planner.description, self.robot)
        if self.robot.lockstep != self.planner.cfg.lockstep:
            kinds = "that keeps time", "that waits for commands (lock-step)"
            expected, got = kinds[self.planner.cfg.lockstep], kinds[self.robot.lockstep]
            raise RobotError(f"robot: expected one {expected}, got one {got}")

    def _take_all(self) -> tuple[Reading, FloatArray, int] | None:
        """Take all that has come; the newest reading that has not been reacted to, if any."""
        for data, address in self._port.drain():
            if address != self._address:
                continue
            message = self._session.unpack(data)
            if isinstance(message, Status):
                self.log.status(message)
            elif isinstance(message, Reading):
                self._hear(message, self._port.arrived_ns)
        newest, self._newest = self._newest, None
        return newest

    def _hear(self, reading: Reading, arrived_ns: int) -> None:
        self._heard_ns = arrived_ns
        try:
            state = self.planner.heard(reading, arrived_ns)
        except ObservationError:
            self.log.unusable += 1
            return
        self.log.reading(reading, arrived_ns, self.planner)
        self._newest = reading, state, arrived_ns

    def _react(self, reading: Reading, state: FloatArray, arrived_ns: int, goal: Goal) -> None:
        if reading.phase is not Phase.READY:
            self._ready_ns = arrived_ns
        elif arrived_ns - self._ready_ns > START_NS:
            raise RobotError(
                f"robot: expected it to start within {START_NS / SECOND:g} s, got none of the "
                "commands in effect; its status or the guard's tells what was refused"
            )
        decision = None
        if reading.phase in COUNTED:
            self._asked_ns = 0
            decision = self.planner.decide(reading, state, arrived_ns)
            if decision.command is not None:
                self._send_command(decision.command)
            self._settle(reading, decision, arrived_ns)
        if reading.phase is Phase.RUNNING and self._began_ns is None:
            self._began_ns = arrived_ns
        self._move_on(reading, goal)
        if self._onlooker is not None:
            self._onlooker.show(reading, decision, arrived_ns)

    def _settle(self, reading: Reading, decision: Decision, arrived_ns: int) -> None:
        """After a command has left: what would have held it up before."""
        self.log.decision(reading, decision, arrived_ns, self._sent_ns)
        if self._recorder is not None:
            self._recorder.add(reading, decision, arrived_ns, self._sent_ns, self.log.guard)
        self.planner.prepare()
        if reading.sequence % 16 == 0:
            tidy(arrived_ns + self.planner.control_dt_ns)

    def _move_on(self, reading: Reading, goal: Goal) -> None:
        """Begin the next episode, or end the drive."""
        now = time.monotonic_ns()
        began_ns = self._began_ns or now
        if goal.seconds is not None and now - began_ns >= goal.seconds * SECOND:
            self.why_over = "time"
            return
        if reading.episode == self._unwanted:
            self._ask_for_next(reading, goal)
            return
        if reading.phase in COUNTED or now - self._asked_ns < REPEAT_NS:
            return
        if (
            reading.phase is Phase.STOPPED
            and reading.episode
            and self._began_ns
            and not goal.restart
        ):
            self.why_over = "safety"
            return
        if goal.episodes is not None and self.log.episodes_begun >= goal.episodes:
            self.why_over = "episodes"
            return
        self._ask_for_next(reading, goal)

    def _ask_for_next(self, reading: Reading, goal: Goal) -> None:
        """Have the robot prepare the episode after a reading's."""
        self._asked_ns = time.monotonic_ns()
        seed = goal.seed + self.log.episodes_begun
        self._asked = Reset(episode=reading.episode + 1, seed=seed)
        self._send(self._asked)

    @property
    def _is_resetting(self) -> bool:
        """Whether the robot may be on its way to where an episode starts, and tell nothing."""
        asked, newest = self._asked, self.log.newest
        if not isinstance(asked, Reset) or newest is None:
            return False
        return newest.episode != asked.episode

    def _keep_alive(self) -> None:
        now = time.monotonic_ns()
        patience_ns = RESET_NS if self._is_resetting else SILENCE_NS
        if now - self._heard_ns > patience_ns:
            raise RobotError(
                f"{self._address[0]}:{self._address[1]}: expected a reading every "
                f"{self.robot.control_dt:g} s, got none for {patience_ns / SECOND:g} s; "
                "is the robot still running, and does it say of readings that it cannot send them?"
            )
        if self.robot.lockstep:
            if now - max(self._heard_ns, self._sent_ns) > REPEAT_NS / 3:  # a datagram was lost
                self._send(self._asked)
        elif now - self._sent_ns >= HEARTBEAT_NS:
            self._send(Heartbeat())

    def _look_up(self, goal: Goal) -> None:
        """Hear what people want while the robot is silent."""
        now, newest = time.monotonic_ns(), self.log.newest
        if self._onlooker is not None:
            self._onlooker.idle(now - self._heard_ns)
        is_unwanted = newest is not None and newest.episode == self._unwanted
        if newest is not None and is_unwanted and now - self._asked_ns >= REPEAT_NS:
            self._ask_for_next(newest, goal)

    def _send_command(self, command: Command) -> None:
        self._send(command)
        self._asked = command
        self.planner.sent(command, self._sent_ns)

    def _send(self, message: Message) -> None:
        self._port.send(self._session.pack(message), self._address)
        self._sent_ns = time.monotonic_ns()

    def _say_goodbye(self) -> None:
        """Stop the robot, and wait for what it and the guard have to say."""
        self._send(Stop(reason=f"drive is over: {self.why_over or 'error'}"))
        until_ns = time.monotonic_ns() + FAREWELL_NS
        self.log.wait_for(() if self.robot.lockstep else ("guard", "robot"))
        while not self.log.said_goodbye and time.monotonic_ns() < until_ns:
            wait([self._port], min(self._sent_ns + HEARTBEAT_NS, until_ns))
            self._take_all()
            if time.monotonic_ns() - self._sent_ns >= HEARTBEAT_NS:
                self._send(Heartbeat())
        self._send(Bye())
