"""What a robot's motors are doing, and when they are to stop: all but the network and the ticking.

Time comes in as an argument, so that every rule here can be tested without waiting.
"""

from collections import Counter

import numpy as np

from wmrobot.runtime.motor_timeline import Timeline
from wmrobot.runtime.robot import Command, Phase, Robot, Rung

WATCHDOG_NS = 100_000_000
"""[ns] without a command or a heartbeat, until the motors are stopped"""
LONGEST_HOLD_NS = 400_000_000
"""[ns] without a new command in effect, until they are stopped though there are heartbeats"""


class Motors:
    """Commands into motions of one robot.

    Args:
        robot: Whose.
        control_dt_ns: Time between two ticks [ns].
    """

    def __init__(self, robot: Robot, control_dt_ns: int) -> None:
        self._robot = robot
        self._timeline = Timeline(control_dt_ns)
        self._longest_hold = max(LONGEST_HOLD_NS, 4 * control_dt_ns)
        self._fed_ns = self._effect_ns = 0
        self.phase = Phase.IDLE
        self.command = np.zeros(len(robot.actuators), dtype=np.float32)
        self.applied = self.received = self.received_ns = 0
        self.ticks = np.zeros(len(Rung), dtype=np.int64)
        self.stops: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.is_latched = False
        """Whether an emergency stop waits for a person."""

    @property
    def next_ns(self) -> int | None:
        """When something is due [ns]; None if nothing is."""
        if self.phase != Phase.RUNNING:
            return None
        watchdog = self._fed_ns + WATCHDOG_NS
        effect = self._timeline.next_ns
        return watchdog if effect is None else min(watchdog, effect)

    def take(self, command: Command, now: int) -> None:
        """Take a command that has arrived, if this is the time for one."""
        if self.phase not in (Phase.READY, Phase.RUNNING):
            self.refused["not_ready"] += 1
        elif (reason := self._timeline.add(command, now)) is not None:
            self.refused[reason] += 1
        else:
            self._fed_ns = now
            if command.sequence != self.received:  # a shifted action bears its plan's number
                self.received, self.received_ns = command.sequence, now

    def feed(self, now: int) -> None:
        """Whoever commands is alive."""
        self._fed_ns = now

    def advance(self, now: int) -> None:
        """Bring into effect what is due; stop if nothing has come for too long."""
        if self.phase != Phase.RUNNING:
            return
        entry = self._timeline.advance(now)
        if entry is not None:
            self.command = np.clip(entry.action, -1.0, 1.0)
            self.applied, self._effect_ns = entry.sequence, now
            self._robot.apply(self.command, entry.effect_ns)
        if now - self._fed_ns >= WATCHDOG_NS:
            self.halt(Phase.STOPPED, "watchdog")
        elif now - self._effect_ns >= self._longest_hold:
            self.halt(Phase.STOPPED, "held_too_long")

    def ready(self) -> None:
        """The robot has been reset: the next command starts it."""
        self.halt(Phase.READY, "reset")

    def can_begin(self, now: int) -> bool:
        """Whether it waits at rest and a command is due."""
        due = self._timeline.next_ns
        return self.phase == Phase.READY and due is not None and due <= now

    def begin(self, now: int) -> None:
        """Start to move."""
        self.phase = Phase.RUNNING
        self._fed_ns = self._effect_ns = now
        self.advance(now)

    def count(self, tick_ns: int, missed: int) -> None:
        """Count a running tick, and those before it that were slept through, by rung."""
        if self.phase == Phase.RUNNING:
            self.ticks[self._timeline.rung_at(tick_ns)] += 1
            self.ticks[Rung.HOLD] += missed

    def halt(self, phase: Phase, reason: str) -> None:
        """Motors to zero; `phase` says for how long."""
        self._robot.stop()
        self._timeline.clear()
        self.command = np.zeros_like(self.command)
        self.applied = 0
        if self.phase != phase:
            self.stops[reason] += 1
        self.phase = phase
