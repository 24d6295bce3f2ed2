"""A robot's own loop: readings out at every tick, commands in, and a stop when they stay away.

    serve(MyRobot(), port=7000)

Ticks are at absolute times. Between them the loop sleeps until a datagram comes, or a command is
due. The watchdog is the robot's own: it does not rely on whoever commands it.
"""

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.lateness import Lateness
from wmrobot.runtime.motors import Motors
from wmrobot.runtime.process import (
    Idle,
    quiet_collector,
    raise_priority,
    until_terminated,
)
from wmrobot.runtime.robot import (
    NO_OUTCOME,
    Command,
    Outcome,
    Phase,
    Reading,
    Robot,
    RobotDescription,
    Rung,
    as_vector,
    no_pose,
)
from wmrobot.runtime.wire.bodies import LARGEST_POSE
from wmrobot.runtime.wire.greeting import Reception
from wmrobot.runtime.wire.messages import (
    STATUS_NS,
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Hello,
    Message,
    Reset,
    Status,
    Stop,
)
from wmrobot.runtime.wire.port import LOOPBACK, Port, wait

TAKES = (Command, Heartbeat, Reset, Stop, EmergencyStop, Clear)


def serve(robot: Robot, *, host: str = LOOPBACK, port: int = 0, fifo: int = 20) -> None:
    """Run a robot until the process is interrupted or terminated; its motors are stopped then.

    Args:
        robot: What to run.
        host: Address to listen at; by default nobody outside this machine is heard.
        port: Number of the UDP port; 0 picks one, which is told on stdout.
        fifo: Priority of SCHED_FIFO to ask for, 1 to 99; 0 asks for none.
    """
    opened = Port(host, port)
    raise_priority(fifo)
    sys.stdout.write(f'{{"ready": true, "port": {opened.address[1]}}}\n')
    sys.stdout.flush()
    try:
        with until_terminated():
            Server(robot, opened).run()
    finally:
        opened.close()


def describe(robot: Robot, *, lockstep: bool = False) -> RobotDescription:
    """What a robot says of itself.

    Raises:
        RobotError: It lacks names, or its `control_dt` or `pose_dim` make no sense.
    """
    for what in ("sensors", "joints", "actuators"):
        names = getattr(robot, what, None)
        if names is None or isinstance(names, str) or not all(isinstance(n, str) for n in names):
            raise RobotError(f"robot.{what}: expected a list of names, got {names!r}")
    control_dt = getattr(robot, "control_dt", None)
    if not isinstance(control_dt, float) or not 0 < control_dt < float("inf"):
        raise RobotError(f"robot.control_dt: expected seconds above 0, got {control_dt!r}")
    if type(robot.pose_dim) is not int or not 0 <= robot.pose_dim <= LARGEST_POSE:
        raise RobotError(
            f"robot.pose_dim: expected a whole number, 0 to {LARGEST_POSE}, got {robot.pose_dim!r}"
        )
    return RobotDescription(
        name=robot.name,
        sensors=tuple(robot.sensors),
        joints=tuple(robot.joints),
        actuators=tuple(robot.actuators),
        control_dt=control_dt,
        lockstep=lockstep,
        mjcf_sha256=robot.mjcf_sha256,
        pose_dim=robot.pose_dim,
    )


def read_pose(robot: Robot) -> FloatArray | None:
    """Where a robot's joints are, or (0,); None for what it tells and a reading may not hold."""
    if not robot.pose_dim:
        return no_pose()
    try:
        return as_vector(robot.pose(), robot.pose_dim, "robot.pose()")
    except (ValueError, TypeError):  # a reading is worth more than its picture
        return None


class Server:
    """Runs one robot in real time.

    Args:
        robot: What to run.
        port: To talk through.
        clock: The robot's clock [ns].
    """

    def __init__(
        self, robot: Robot, port: Port, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.robot, self.port, self.clock = robot, port, clock
        self.description = describe(robot)
        self.reception = Reception(port, self.description, TAKES, clock)
        self.lateness = Lateness()
        self._dt = round(robot.control_dt * 1e9)
        self.motors = Motors(robot, self._dt)
        self._due = clock() + self._dt
        self._sequence = self._episode = self._decision = self._skipped = 0
        self._unread = self._no_pose = 0
        self._first = 0  # sequence of the episode's first reading
        self._told_ns, self._told_phase = clock(), Phase.IDLE
        self.reception.farewell = self._make_status

    def run(self, idle: Idle | None = None) -> None:
        """Serve until the process ends; the motors are stopped on the way out, whatever happens.

        Args:
            idle: Returns when nobody has been there for too long; None serves forever.
        """
        try:
            with quiet_collector():
                self._due = self.clock() + self._dt
                while idle is None or not idle.is_over(self.reception.heard_ns):
                    wait([self.port], self.step())
        finally:
            self.robot.stop()

    def step(self) -> int:
        """Do all that is due; returns when to look again at the latest [ns]."""
        for received in self.port.drain():
            message = self.reception.take(*received)
            if message is not None:
                self._take(message)
        now = self.clock()
        self.reception.watch(now)
        self.motors.advance(now)
        if now >= self._due:
            self._tick(now)
        due = self.motors.next_ns
        return self._due if due is None else min(self._due, due)

    def _take(self, message: Message) -> None:
        """Do what a message says."""
        match message:
            case Hello():
                self.motors.halt(Phase.IDLE, "greeted")
                self.motors.is_latched = False
                self.motors.ticks[:] = 0
                self.motors.received = self.motors.received_ns = 0
            case Bye():
                self.motors.halt(Phase.IDLE, "left")
            case Command():
                if self._first <= message.made_from <= self._sequence:
                    self.motors.take(message, self.clock())
                else:
                    self.motors.refused["other_episode"] += 1
            case Heartbeat():
                self.motors.feed(self.clock())
            case Reset():
                if message.episode == self._episode + 1 and not self.motors.is_latched:
                    self._reset(message.seed)
            case Stop():
                self.motors.halt(Phase.STOPPED, message.reason or "asked to")
            case EmergencyStop():
                self.motors.is_latched = True
                self.motors.halt(Phase.STOPPED, message.reason or "emergency")
            case Clear():
                self.motors.is_latched = False

    def _reset(self, seed: int | None) -> None:
        self.robot.stop()
        self.robot.reset(seed)
        self.motors.ready()
        if not gc.isenabled():
            gc.collect()  # the only time at which nobody waits
        self._episode += 1
        self._decision = 0
        self._first = self._sequence + 1
        self._due = self.clock()

    def _tick(self, now: int) -> None:
        """Measure, count, tell."""
        self.lateness.add((now - self._due) * 1e-9)
        missed = (now - self._due) // self._dt  # what was slept through cannot be told any more
        due = self._due + missed * self._dt
        self._due = due + self._dt
        self._skipped += missed
        self._sequence += 1 + missed
        motors, outcome = self.motors, NO_OUTCOME
        was_running, begins = motors.phase == Phase.RUNNING, motors.can_begin(now)
        self.robot.tick(due)
        sensors = self._read()
        if was_running:
            self._decision += 1 + missed
            outcome = self.robot.outcome()
            if outcome.terminated or outcome.truncated:
                motors.halt(Phase.ENDED, "episode_ended")
            motors.count(due, missed)
        elif begins:
            motors.begin(now)
            motors.count(due, 0)
        if sensors is not None:
            self.reception.send(self._reading(due, sensors, outcome))
        if now - self._told_ns >= STATUS_NS or motors.phase != self._told_phase:
            self._told_ns, self._told_phase = now, motors.phase
            self.reception.send(self._make_status())

    def _make_status(self) -> Status:
        return Status(source="robot", values=self.status())

    def _read(self) -> FloatArray | None:
        """What the sensors tell; nothing where it is not finite: then the planner hears nothing."""
        measured = self.robot.read()
        try:
            return as_vector(measured, len(self.description.sensors), "robot.read()")
        except ValueError as error:
            if not self._unread:  # once: there may be thousands a minute
                sys.stderr.write(f"{error}; such readings are not sent, only counted\n")
            self._unread += 1
            return None

    def _reading(self, due: int, sensors: FloatArray, outcome: Outcome) -> Reading:
        motors = self.motors
        return Reading(
            sequence=self._sequence,
            time_ns=due,
            sensors=sensors,
            command=motors.command,
            applied=motors.applied,
            received=motors.received,
            received_ns=motors.received_ns,
            phase=motors.phase,
            episode=self._episode,
            decision=self._decision,
            ticks=tuple(map(int, motors.ticks)),
            outcome=outcome,
            pose=self._pose(),
        )

    def _pose(self) -> FloatArray:
        pose = read_pose(self.robot)
        self._no_pose += pose is None
        return no_pose() if pose is None else pose

    def status(self) -> dict[str, Any]:
        """Counters for reports."""
        return {
            "phase": self.motors.phase.name,
            "episode": self._episode,
            "ticks": {rung.name: int(self.motors.ticks[rung]) for rung in Rung},
            "skipped_ticks": self._skipped,
            "unreadable": self._unread,
            "poses_left_out": self._no_pose,
            "lateness_s": self.lateness.summary(),
            "dropped": dict(self.reception.dropped),
            "refused": dict(self.motors.refused),
            "stops": dict(self.motors.stops),
            **self.robot.status(),
        }
