"""A robot without a clock: it waits for each command. What real time is compared with."""

import time
from typing import Any

from wmrobot.runtime.motors import Motors
from wmrobot.runtime.process import Idle, quiet_collector
from wmrobot.runtime.robot import (
    NO_OUTCOME,
    Command,
    Outcome,
    Phase,
    Reading,
    Robot,
    Rung,
    as_vector,
    no_pose,
)
from wmrobot.runtime.server import describe, read_pose
from wmrobot.runtime.wire.greeting import Reception
from wmrobot.runtime.wire.messages import Bye, Hello, Message, Reset, Status, Stop
from wmrobot.runtime.wire.port import Port, wait

TAKES = (Command, Reset, Stop)
LOOK_AGAIN_NS = 200_000_000


class LockstepServer:
    """Runs one simulated robot in lock step: a command, a decision, a reading.

    Its time starts at 1 s and advances by `control_dt` with every decision. Of a command the first
    action is taken, whatever its time. A command that was made from an older reading is answered
    with the newest reading once more, as that must have been lost.

    Args:
        robot: A simulated robot: it must advance by `tick` alone.
        port: To talk through.
    """

    def __init__(self, robot: Robot, port: Port) -> None:
        self.robot, self.port = robot, port
        self.description = describe(robot, lockstep=True)
        self.reception = Reception(port, self.description, TAKES)
        self._dt = round(robot.control_dt * 1e9)
        self._motors = Motors(robot, self._dt)
        self._time = 1_000_000_000
        self._episode = self._decision = self._sequence = 0
        self._reading: Reading | None = None

    def run(self, idle: Idle | None = None) -> None:
        """Serve until the process ends, or nobody has been there for too long."""
        with quiet_collector():
            while idle is None or not idle.is_over(self.reception.heard_ns):
                wait([self.port], time.monotonic_ns() + LOOK_AGAIN_NS)
                self.step()

    def step(self) -> None:
        """Answer what has come."""
        for received in self.port.drain():
            message = self.reception.take(*received)
            if message is not None:
                self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Hello() | Bye() | Stop():
                self._motors.halt(Phase.IDLE, "idle")
                self._tell(NO_OUTCOME)
            case Reset():
                if message.episode == self._episode + 1:
                    self.robot.reset(message.seed)
                    self._motors.ready()
                    self._episode, self._decision = message.episode, 0
                    self.robot.tick(self._time)
                self._tell(NO_OUTCOME)
            case Command():
                self._decide(message)

    def _decide(self, command: Command) -> None:
        """Take one decision."""
        motors = self._motors
        is_new = command.made_from == self._sequence
        if motors.phase not in (Phase.READY, Phase.RUNNING) or not is_new:
            if self._reading is not None:
                self.reception.send(self._reading)
            return
        motors.phase = Phase.RUNNING
        motors.ticks[command.rung] += 1
        motors.command, motors.applied = command.actions[0].clip(-1.0, 1.0), command.sequence
        self.robot.apply(motors.command, self._time)
        self._time += self._dt
        self.robot.tick(self._time)
        self._decision += 1
        outcome = self.robot.outcome()
        if outcome.terminated or outcome.truncated:
            motors.halt(Phase.ENDED, "episode_ended")
        self._tell(outcome)
        if motors.phase == Phase.ENDED:
            self.reception.send(Status(source="robot", values=self.status()))

    def _tell(self, outcome: Outcome) -> None:
        """A new reading."""
        self._sequence += 1
        motors = self._motors
        self._reading = Reading(
            sequence=self._sequence,
            time_ns=self._time,
            sensors=as_vector(self.robot.read(), len(self.description.sensors), "robot.read()"),
            command=motors.command,
            applied=motors.applied,
            received=motors.applied,
            received_ns=self._time,
            phase=motors.phase,
            episode=self._episode,
            decision=self._decision,
            ticks=tuple(map(int, motors.ticks)),
            outcome=outcome,
            pose=no_pose() if (pose := read_pose(self.robot)) is None else pose,
        )
        self.reception.send(self._reading)

    def status(self) -> dict[str, Any]:
        """Counters for reports."""
        return {
            "phase": self._motors.phase.name,
            "episode": self._episode,
            "ticks": {rung.name: int(self._motors.ticks[rung]) for rung in Rung},
            "dropped": dict(self.reception.dropped),
            **self.robot.status(),
        }
