"""What a drive amounts to, in memory that does not grow: counts, histograms, sums."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wmrobot.runtime.driving.deadline import AT_ONCE, DeadlinePlanner, Decision
from wmrobot.runtime.lateness import Lateness
from wmrobot.runtime.quiet import resident_mib
from wmrobot.runtime.robot import Command, Phase, Reading, Rung
from wmrobot.runtime.wire.messages import Status

MOST_EPISODES, MOST_MEMORY_SAMPLES = 4096, 4096
TRACE = 1500  # ticks to draw
LONGEST_TOLD = 200
"""Letters of what others tell that are kept with every decision."""
MEMORY_EVERY_NS = 10_000_000_000
TAKEN = ("encode", "step", "propose", "refine", "choose", "total")


class Episode(NamedTuple):
    """One episode as the readings told it.

    Attributes:
        number: Of the robot's reset.
        total: Sum of the rewards that were told.
        decisions: Of the episode.
        untold: Decisions whose reading was lost, with their reward.
        success: Whether the task called it one in the end.
        over: Whether it came to its end.
    """

    number: int
    total: float = 0.0
    decisions: int = 0
    untold: int = 0
    success: bool = False
    over: bool = False


class Sample(NamedTuple):
    """One tick, to be drawn.

    Attributes:
        seconds: Since the drive began [s].
        taken_ms: From the reading's arrival until the command was ready [ms].
        due_ms: From its arrival until the command had to leave [ms].
        action: First entry of the action in effect.
        fresh: Whether a fresh plan was sent.
    """

    seconds: float
    taken_ms: float
    due_ms: float
    action: float
    fresh: bool


class Motion:
    """How smoothly the motors were driven: differences of the actions of successive ticks."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, np.ndarray]] = deque(maxlen=3)
        self._sums, self._counts = [0.0, 0.0], [0, 0]

    def add(self, sequence: int, action: np.ndarray) -> None:
        """Take the action (A,) of a tick."""
        if self._last and sequence != self._last[-1][0] + 1:
            self._last.clear()
        self._last.append((sequence, action))
        for order in (1, 2):
            if len(self._last) > order:
                values = np.stack([value for _, value in self._last][-order - 1 :])
                self._sums[order - 1] += float(np.abs(np.diff(values, order, axis=0)).mean())
                self._counts[order - 1] += 1

    def summary(self, control_dt: float) -> dict[str, float | None]:
        """Mean size of the actions' first difference [1/s] and of their second [1/s^2]."""
        rate, jerk = (
            total / count / control_dt**order if count else None
            for order, (total, count) in enumerate(zip(self._sums, self._counts, strict=True), 1)
        )
        return {"action_rate_per_s": rate, "action_jerk_per_s2": jerk}


class DriveLog:
    """Told of every reading and decision of a drive."""

    def __init__(self) -> None:
        self.age, self.round_trip, self.command = Lateness(), Lateness(), Lateness()
        self.taken: Mapping[str, Lateness] = {name: Lateness() for name in TAKEN}
        self.iterations: Counter[int] = Counter()
        self.leads: Counter[int] = Counter()
        self.sent: Counter[str] = Counter()
        self.in_time = self.late = self.unusable = self.lost = self.readings = 0
        self.episodes: deque[Episode] = deque(maxlen=MOST_EPISODES)
        self.episodes_begun = 0
        self.motion = Motion()
        self.statuses: dict[str, Mapping[str, Any]] = {}
        self.memory: deque[tuple[float, float]] = deque(maxlen=MOST_MEMORY_SAMPLES)
        self.trace: deque[Sample] = deque(maxlen=TRACE)
        self.running_ticks = self.running_ns = self.fresh = 0
        self.newest: Reading | None = None
        self._whens: deque[Command] = deque(maxlen=64)
        self._waiting_for: set[str] = set()
        self._began_ns = self._memory_ns = time.monotonic_ns()

    @property
    def ticks(self) -> dict[str, int]:
        """The robot's own count of running ticks by rung."""
        counts = (0,) * len(Rung) if self.newest is None else self.newest.ticks
        return {rung.name.lower(): counts[rung] for rung in Rung}

    @property
    def misses(self) -> int:
        """Running ticks at which the robot had no fresh plan."""
        return 0 if self.newest is None else self.newest.misses

    @property
    def guard(self) -> tuple[str, str]:
        """State of the guard and what led to it, as it told last; empty before that."""
        told = self.statuses.get("guard", {})
        return str(told.get("state", ""))[:LONGEST_TOLD], str(told.get("reason", ""))[:LONGEST_TOLD]

    @property
    def running_seconds(self) -> float:
        """Time that the robot ran, by its clock [s]."""
        return self.running_ns * 1e-9

    def reading(self, reading: Reading, arrived_ns: int, planner: DeadlinePlanner) -> None:
        """A reading has come."""
        last, self.newest = self.newest, reading
        self.readings += 1
        self.age.add((arrived_ns - planner.time.here(reading.time_ns)) * 1e-9)
        if last is not None:
            self.lost += max(reading.sequence - last.sequence - 1, 0)
            if reading.received != last.received:
                self._arrived(reading, planner)
        self._follow(reading, last)
        if arrived_ns >= self._memory_ns:
            self.memory.append(((arrived_ns - self._began_ns) * 1e-9, resident_mib()))
            self._memory_ns = arrived_ns + MEMORY_EVERY_NS

    def decision(self, reading: Reading, decision: Decision, arrived_ns: int, sent_ns: int) -> None:
        """A reading has been reacted to."""
        command = decision.command
        self.sent["none" if command is None else command.rung.name.lower()] += 1
        if command is not None:
            self._whens.append(command)
        if reading.phase is not Phase.RUNNING:
            return
        for name, taken_ns in decision.taken_ns.items():
            self.taken[name].add(taken_ns * 1e-9)
        self.leads[decision.lead] += 1
        self.iterations[decision.iterations] += 1
        self.fresh += decision.plan is not None
        self.trace.append(
            Sample(
                seconds=(arrived_ns - self._began_ns) * 1e-9,
                taken_ms=decision.taken_ns["total"] * 1e-6,
                due_ms=(decision.due_ns - arrived_ns) * 1e-6,
                action=float(reading.command[0]),
                fresh=decision.plan is not None,
            )
        )
        if command is None:  # nothing was sent: neither in time nor late
            return
        if sent_ns <= decision.due_ns:
            self.in_time += 1
        else:
            self.late += 1

    def status(self, status: Status) -> None:
        """The guard or the robot has told how it is doing."""
        self.statuses[status.source] = dict(status.values)
        self._waiting_for.discard(status.source)

    def wait_for(self, sources: Iterable[str]) -> None:
        """From now on, one more status of each is waited for."""
        self._waiting_for = set(sources)

    @property
    def said_goodbye(self) -> bool:
        """Whether everybody has told a status since `wait_for`."""
        return not self._waiting_for

    def _arrived(self, reading: Reading, planner: DeadlinePlanner) -> None:
        """A command has arrived at the robot: how long that took, and how late it was."""
        if len(planner.time.round_trip):
            self.round_trip.add(planner.time.round_trip.newest * 1e-9)
        for command in self._whens:
            if command.sequence == reading.received and command.when_ns != AT_ONCE:
                self.command.add((reading.received_ns - command.when_ns) * 1e-9)

    def _follow(self, reading: Reading, last: Reading | None) -> None:
        """Episodes, rewards and actions."""
        is_new = not self.episodes or self.episodes[-1].number != reading.episode
        # readings may be lost until it runs; one that ran before the drive is not ours
        was_another = last is not None and last.episode != reading.episode
        begins = reading.phase is Phase.READY or (reading.phase is Phase.RUNNING and was_another)
        if is_new and begins:
            self.episodes_begun += 1
            self.episodes.append(Episode(reading.episode))
            is_new = False
        if is_new or reading.phase not in (Phase.RUNNING, Phase.ENDED):
            return
        episode = self.episodes[-1]
        if episode.over:
            return
        if last is not None and last.phase is Phase.RUNNING and last.episode == reading.episode:
            self.running_ns += reading.time_ns - last.time_ns
            self.running_ticks += 1
        outcome = reading.outcome
        gap = 0 if last is None else reading.decision - max(episode.decisions, 0) - 1
        self.episodes[-1] = episode._replace(
            total=episode.total + (outcome.reward if math.isfinite(outcome.reward) else 0.0),
            decisions=reading.decision,
            untold=episode.untold + max(gap, 0),
            success=outcome.success,
            over=reading.phase is Phase.ENDED,
        )
        if reading.phase is Phase.RUNNING:
            self.motion.add(reading.sequence, reading.command)
