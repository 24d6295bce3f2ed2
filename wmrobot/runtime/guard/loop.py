"""The loop of the guard's process: `safety` decides, this carries datagrams."""

import json
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.errors import BundleError, RobotError
from wmrobot.runtime.guard.safety import Guard
from wmrobot.runtime.guard.states import Transition, as_document
from wmrobot.runtime.lateness import Lateness
from wmrobot.runtime.limits import Limiter, Limits, read_limits
from wmrobot.runtime.process import (
    Idle,
    quiet_collector,
    raise_priority,
    until_terminated,
)
from wmrobot.runtime.robot import Command, Reading, RobotDescription
from wmrobot.runtime.wire.greeting import Greeting, Reception, greet
from wmrobot.runtime.wire.messages import (
    STATUS_NS,
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Message,
    Reset,
    Status,
    Stop,
)
from wmrobot.runtime.wire.port import LOOPBACK, Address, Port, is_loopback, wait

LONGEST_SLEEP_NS = 200_000_000
FROM_PLANNER = (Command, Heartbeat, Reset, Stop, EmergencyStop, Clear)
FROM_ROBOT = (Reading, Status)


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Settings of a guard.

    Attributes:
        robot: `host:port` of the robot.
        bundle: Folder of the planner's bundle, which the robot must fit; empty for any robot.
        limits: File of limits beyond those of the bundle; empty for none.
        host: Address at which the planner is listened for.
        port: UDP port for that; 0 picks one.
        log: File that transitions are appended to, as lines of JSON; empty for none.
        greet_s: Patience with a robot that does not answer [s].
        fifo: Priority of SCHED_FIFO to ask for, 1 to 99; 0 asks for none.
        exit_idle_s: Ends when no planner has been there for so long [s]; 0 for never.
        exit_with_stdin: Ends when stdin is closed, as it is when whoever started this dies.
    """

    robot: str
    bundle: str = ""
    limits: str = ""
    host: str = LOOPBACK
    port: int = 0
    log: str = ""
    greet_s: float = 10.0
    fifo: int = 20
    exit_idle_s: float = 0.0
    exit_with_stdin: bool = False


class GuardLoop:
    """Carries messages between planner, guard and robot.

    Args:
        planners: Where a planner asks for a session.
        to_robot: Through which the robot was greeted.
        robot: Its address.
        greeting: What it answered.
        limits: What to hold it to.
        log: File that transitions are appended to, one JSON line each; None for none.
    """

    def __init__(
        self,
        planners: Port,
        to_robot: Port,
        robot: Address,
        greeting: Greeting,
        limits: Limits,
        log: TextIO | None = None,
    ) -> None:
        self._planners, self._to_robot, self._robot = planners, to_robot, robot
        self._session = greeting.session
        self._log = log
        description = greeting.description
        self.reception = Reception(planners, description, FROM_PLANNER)
        self.guard = Guard(
            Limiter(limits, description), round(description.control_dt * 1e9), self._note
        )
        self._lateness = Lateness()
        self._told_ns = 0
        self._superseded = 0
        self._news = False
        self.reception.farewell = self._make_status

    def run(self, idle: Idle | None = None) -> None:
        """Carry until the process ends, or no planner has been there for too long."""
        try:
            with quiet_collector():
                while idle is None or not idle.is_over(self.reception.heard_ns):
                    wait([self._to_robot, self._planners], self.step())
        finally:
            self._tell_robot([Stop(reason="the guard ends"), Bye()])

    def step(self) -> int:
        """Take what has come and do what is due; returns when to look again at the latest [ns]."""
        due = self.guard.next_ns
        if due is not None and (late := time.monotonic_ns() - due) > 0:
            self._lateness.add(late * 1e-9)
        self._take_robot()
        self._take_planner()
        now = time.monotonic_ns()
        self.reception.watch(now)
        self._tell_robot(self.guard.watch(now))
        if self._news or now - self._told_ns >= STATUS_NS:
            self._news, self._told_ns = False, now
            self.reception.send(self._make_status())
        until = now + LONGEST_SLEEP_NS
        return until if self.guard.next_ns is None else min(until, self.guard.next_ns)

    def _take_robot(self) -> None:
        for data, address in self._to_robot.drain():
            if address != self._robot:
                self._session.dropped["stranger"] += 1
                continue
            message = self._session.unpack(data)
            if message is None:
                continue
            self.reception.send(message)  # first of all: the planner waits for it
            if isinstance(message, Reading):
                self._tell_robot(self.guard.robot(message, time.monotonic_ns()))

    def _take_planner(self) -> None:
        """Take what a planner has sent; of several commands the newest alone."""
        newest: Command | None = None
        for received in self._planners.drain():
            message = self.reception.take(*received)
            if isinstance(message, Command):
                self._superseded += newest is not None
                newest = message
            elif message is not None:
                self._tell_robot(self.guard.planner(message, time.monotonic_ns()))
        if newest is not None:
            self._tell_robot(self.guard.planner(newest, time.monotonic_ns()))

    def _tell_robot(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._to_robot.send(self._session.pack(message), self._robot)

    def _make_status(self) -> Status:
        return Status(source="guard", values=self.status())

    def _note(self, transition: Transition) -> None:
        self._news = True
        if self._log is not None:
            self._log.write(json.dumps(as_document(transition)) + "\n")
            self._log.flush()

    def status(self) -> dict[str, object]:
        """Counters for reports."""
        return {
            **self.guard.status(),
            "superseded": self._superseded,
            "dropped_from_planner": dict(self.reception.dropped),
            "dropped_from_robot": dict(self._session.dropped),
            "lateness_s": self._lateness.summary(),
        }


def check_robot(description: Description, robot: RobotDescription) -> None:
    """Refuse a robot that a planner was not made for.

    Raises:
        BundleError: Joints, rate, sensors or actuators differ.
    """
    description.check_robot(robot.joints, robot.control_dt)
    terms = () if description.state is None else description.state.terms
    for what, made_for, got in (
        ("sensors", tuple(term.name for term in terms), robot.sensors),
        ("actuators", tuple(term.name for term in description.actions), robot.actuators),
    ):
        if made_for != got:
            raise BundleError(
                f"{what}: the planner was made for {list(made_for)}, got {list(got)}; "
                "bring the robot's into that order"
            )


def parse_address(text: str) -> Address:
    """`host:port`, the host a number or a name.

    Raises:
        RobotError: It is something else.
    """
    host, colon, port = text.removeprefix("udp://").rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise RobotError(f"robot: expected host:port, got '{text}'")
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise RobotError(f"robot: expected a known host, got '{host}' ({error})") from None
    address = found[0][4]
    return str(address[0]), int(address[1])


def run_guard(cfg: GuardConfig) -> None:
    """Greet the robot, then stand between it and whoever asks for a session.

    Raises:
        RobotError: There is no such robot, or the bundle or the limits do not fit it.
    """
    address = parse_address(cfg.robot)
    limits = read_limits(cfg.limits) if cfg.limits else Limits()
    planners = Port(cfg.host, cfg.port)
    to_robot = Port(LOOPBACK if is_loopback(address[0]) else "0.0.0.0", 0)
    with closing(planners), closing(to_robot), _open_log(cfg.log) as log:
        greeting = greet(to_robot, address, FROM_ROBOT, name="guard", timeout_s=cfg.greet_s)
        if cfg.bundle:
            check_robot(Bundle.read(cfg.bundle).description, greeting.description)
        loop = GuardLoop(planners, to_robot, address, greeting, limits, log)
        sys.stdout.write(json.dumps({"ready": True, "port": planners.address[1]}) + "\n")
        sys.stdout.flush()
        raise_priority(cfg.fifo)
        with until_terminated(exit_with_stdin=cfg.exit_with_stdin):
            loop.run(Idle(cfg.exit_idle_s))


def _open_log(path: str) -> AbstractContextManager[TextIO | None]:
    try:
        return Path(path).open("a", encoding="utf-8") if path else nullcontext()
    except OSError as error:
        raise RobotError(
            f"log: expected a file to append to, got {path} ({error.strerror})"
        ) from None
