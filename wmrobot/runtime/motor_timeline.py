"""What a robot's motors do when: commands sorted by the time at which they take effect."""

from typing import NamedTuple

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.robot import Command, Rung

FURTHEST_NS = 1_000_000_000
"""[ns] a command for later than this from now is not taken"""
MOST_PENDING = 256
ROUNDING = 1e-3
"""Share of `control_dt` by which times may be off that were added up elsewhere."""


class Entry(NamedTuple):
    """One action.

    Attributes:
        when_ns: When it should take effect, by the robot's clock [ns].
        effect_ns: When it does: later than that only where it arrived later.
        action: (A,) in [-1, 1].
        rung: Where it comes from.
        sequence: Number of the command that it came with.
    """

    when_ns: int
    effect_ns: int
    action: FloatArray
    rung: Rung
    sequence: int


class Timeline:
    """Actions to come, and the one in effect.

    Args:
        control_dt_ns: Time between two decisions [ns].
    """

    def __init__(self, control_dt_ns: int) -> None:
        self._dt = control_dt_ns
        self._pending: list[Entry] = []
        self._current: Entry | None = None

    @property
    def next_ns(self) -> int | None:
        """When the next action takes effect [ns]; None if none is to come."""
        return self._pending[0].when_ns if self._pending else None

    def clear(self) -> None:
        """Forget all."""
        self._pending, self._current = [], None

    def add(self, command: Command, now_ns: int) -> str | None:
        """Take a command: it replaces what was to come from its time on.

        Args:
            command: With `when_ns` 0 for at once.
            now_ns: When it arrived [ns].

        Returns:
            Why it was not taken, in a word; None if it was.
        """
        begin = command.when_ns or now_ns
        if begin > now_ns + FURTHEST_NS:
            return "early"
        rungs = [command.rung] * len(command.actions)
        if command.rung == Rung.FRESH:
            rungs[1:] = [Rung.SHIFTED] * (len(rungs) - 1)
        whens = [begin + i * self._dt for i in range(len(command.actions))]
        entries = [
            Entry(when, max(when, now_ns), action, rung, command.sequence)
            for when, action, rung in zip(whens, command.actions, rungs, strict=True)
            if when + self._dt > now_ns
        ]
        if not entries:
            return "stale"
        kept = [entry for entry in self._pending if entry.when_ns < begin]
        if len(kept) > MOST_PENDING:
            return "crowded"
        self._pending = kept + entries
        return None

    def advance(self, now_ns: int) -> Entry | None:
        """Bring into effect what is due; returns it if it is new, the newest if there are several.

        An action that arrived after its time takes effect now, but keeps its time: whether a tick
        had it in time is judged by that.
        """
        due = None
        while self._pending and self._pending[0].when_ns <= now_ns:
            due = self._pending.pop(0)
        if due is not None:
            self._current = due
        return due

    def rung_at(self, tick_ns: int) -> Rung:
        """What a tick has to go by: an action that should have been followed by another is held."""
        if self._current is None:
            return Rung.STOP
        if tick_ns >= self._current.when_ns + (1 - ROUNDING) * self._dt:
            return Rung.HOLD
        return self._current.rung
