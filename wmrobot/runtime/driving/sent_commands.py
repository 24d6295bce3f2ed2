"""Commands on their way, and what they make the motors do until a new one takes effect."""

from collections import deque
from typing import NamedTuple

import numpy as np

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.robot import Command, Phase, Reading

TOLERANCE = 0.25
"""Ticks are not exact: a command counts from this share of a decision before its time."""
REMEMBERED = 64  # commands


class Sent(NamedTuple):
    """A command that has left, and when by this clock [ns]."""

    command: Command
    sent_ns: int


class SentCommands:
    """Remembers what was sent, and tells which action is in effect at a later tick.

    Args:
        control_dt_ns: Time between two ticks [ns].
    """

    def __init__(self, control_dt_ns: int) -> None:
        self._dt_ns = control_dt_ns
        self._sent: deque[Sent] = deque(maxlen=REMEMBERED)
        self._left: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)  # lost ones too

    def clear(self) -> None:
        """Forget everything: the robot has been reset."""
        self._sent.clear()

    def sent(self, command: Command, sent_ns: int) -> None:
        """A command has left."""
        self._sent.append(Sent(command, sent_ns))
        self._left.append((command.sequence, sent_ns))

    def when_sent(self, sequence: int) -> int | None:
        """When a command left [ns]; None where it is no longer remembered."""
        return next((left_ns for number, left_ns in self._left if number == sequence), None)

    def drop_lost(self, reading: Reading, sent_before_ns: int) -> None:
        """Forget commands that the robot should have had when it told a reading, and had not.

        Args:
            reading: Tells the newest command that has arrived.
            sent_before_ns: What left before this should have been there.
        """
        if any(s.command.sequence > reading.received for s in self._sent):
            kept = [
                entry
                for entry in self._sent
                if entry.command.sequence <= reading.received or entry.sent_ns >= sent_before_ns
            ]
            self._sent.clear()
            self._sent.extend(kept)

    def committed(self, reading: Reading, count: int) -> list[FloatArray]:
        """Actions (A,) of the `count` decisions from a reading on, as far as the robot moves.

        A robot that is ready rests until the first command takes effect: those decisions are left
        out, as nothing happens in them.
        """
        actions: list[FloatArray] = []
        running = reading.phase is Phase.RUNNING
        for ahead in range(count):
            if ahead == 0:  # the robot itself has told, whatever the guard made of it
                if running:
                    actions.append(reading.command)
                continue
            found = self.at(reading.time_ns + ahead * self._dt_ns)
            if found is not None:
                command, index = found
                actions.append(command.actions[min(index, len(command.actions) - 1)])
            elif actions:
                actions.append(actions[-1])
        return actions

    def at(self, time_ns: int) -> tuple[Command, int] | None:
        """The command in effect at a time of the robot's clock, and which of its decisions.

        That index may lie past the last action. None where no command has taken effect by then.
        """
        early_ns = time_ns + int(TOLERANCE * self._dt_ns)
        for command, _ in reversed(self._sent):
            if command.when_ns <= early_ns:
                return command, (early_ns - command.when_ns) // self._dt_ns
        return None

    def remainder(self, time_ns: int) -> tuple[Command, FloatArray] | None:
        """The plan that is in effect at a time and its actions (H', A) from then on, if any."""
        found = self.at(time_ns)
        if found is None or found[1] >= len(found[0].actions):
            return None
        command, index = found
        return command, np.ascontiguousarray(command.actions[index:])
