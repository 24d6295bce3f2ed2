"""Processes for tests of the real-time loop: `python -m tests.pretend robot|planner [port]`."""

import json
import sys
import time
from typing import Any

import numpy as np

from tests.realtime import PretendRobot
from wmrobot.runtime.greeting import greet
from wmrobot.runtime.messages import Reset, Status
from wmrobot.runtime.port import Port, wait
from wmrobot.runtime.robot import Command, Phase, Reading
from wmrobot.runtime.server import serve


def note(what: str, value: Any) -> None:
    """One line: when, what, and the motor's command."""
    action = value[0] if what == "apply" else 0.0
    sys.stdout.write(json.dumps([time.monotonic_ns(), what, action]) + "\n")
    sys.stdout.flush()


def plan(port_number: int) -> None:
    """Command 0.5 at every reading, until something ends this."""
    port = Port()
    address = ("127.0.0.1", port_number)
    session, description = greet(port, address, (Reading, Status))
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    actions = np.full((1, len(description.actuators)), 0.5, np.float32)
    sequence = 0
    has_reset = False
    while True:
        wait([port], time.monotonic_ns() + 50_000_000)
        while (received := port.receive()) is not None:
            message = session.unpack(received[0])
            if not isinstance(message, Reading):
                continue
            if not has_reset:
                port.send(session.pack(Reset(episode=message.episode + 1)), address)
                has_reset = True
            elif message.phase in (Phase.READY, Phase.RUNNING):
                sequence += 1
                when = message.time_ns + round(description.control_dt * 1e9)
                told = Command(
                    sequence=sequence, made_from=message.sequence, when_ns=when, actions=actions
                )
                port.send(session.pack(told), address)


if __name__ == "__main__":
    if sys.argv[1] == "robot":
        serve(PretendRobot(note))
    else:
        plan(int(sys.argv[2]))
