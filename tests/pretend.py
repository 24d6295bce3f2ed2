"""Processes for tests: `python -m tests.pretend robot`, or `... planner PORT [hostile]`."""

import json
import sys
import time
from itertools import islice
from typing import Any

import numpy as np

from tests.hostile import from_within
from tests.realtime import PretendRobot
from wmrobot.runtime.robot import Command, Phase, Reading
from wmrobot.runtime.server import serve
from wmrobot.runtime.wire.greeting import greet
from wmrobot.runtime.wire.messages import Message, Reset, Status
from wmrobot.runtime.wire.port import Port, wait


def note(what: str, value: Any) -> None:
    """One line: when, what, and the motor's command."""
    action = value[0] if what == "apply" else 0.0
    sys.stdout.write(json.dumps([time.monotonic_ns(), what, action]) + "\n")
    sys.stdout.flush()


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Planner:
    """Commands 0.5 at every reading, in between `hostile` datagrams of the same session."""

    def __init__(self, port_number: int, hostile: int) -> None:
        self.port, self.address = Port(), ("127.0.0.1", port_number)
        self.session, description = greet(self.port, self.address, (Reading, Status))
        self.dt = round(description.control_dt * 1e9)
        num_actuators = len(description.actuators)
        self.actions = np.full((1, num_actuators), 0.5, np.float32)
        self.rubbish = from_within(self.session.number, num_actuators, seed=0)
        self.hostile = hostile
        self.sequence = 0
        self.has_reset = False

    def send(self, message: Message) -> None:
        self.port.send(self.session.pack(message), self.address)

    def run(self) -> None:
        """For ever."""
        say(ready=True)
        while True:
            wait([self.port], time.monotonic_ns() + 50_000_000)
            while (received := self.port.receive()) is not None:
                message = self.session.unpack(received[0])
                if isinstance(message, Status):
                    say(source=message.source, **message.values)
                elif isinstance(message, Reading):
                    self.answer(message)

    def answer(self, reading: Reading) -> None:
        """A command, or first of all the one reset; one that floods begins again after a stop."""
        if not self.has_reset or (self.hostile and reading.phase is Phase.STOPPED):
            self.send(Reset(episode=reading.episode + 1))
            self.has_reset = reading.phase is Phase.READY
            return
        if reading.phase not in (Phase.READY, Phase.RUNNING):
            return
        self.sequence += 1
        when = reading.time_ns + self.dt
        self.send(
            Command(
                sequence=self.sequence, made_from=reading.sequence, when_ns=when,
                actions=self.actions,
            )
        )  # fmt: skip
        for data in islice(self.rubbish, self.hostile if self.sequence > 2 else 0):
            self.port.send(data, self.address)
        if self.sequence % 10 == 0:
            say(ticks=reading.ticks, plans=self.sequence)


if __name__ == "__main__":
    if sys.argv[1] == "robot":
        serve(PretendRobot(note))
    else:
        Planner(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0).run()
