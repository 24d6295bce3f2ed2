"""Shows a drive with deadlines in a window, in the time that each tick leaves."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from wmrobot.runtime.driving.deadline import Decision
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.robot import Phase, Reading, Rung
from wmrobot.view.controls import Value
from wmrobot.view.drive_layout import stages_ms, ticks
from wmrobot.view.hindsight import Hindsight
from wmrobot.view.rungs import TICKS

MS = 1e-6  # of a nanosecond
SECOND_NS = 1_000_000_000
SPARE = 1.5  # times as much time as a message has taken so far must be left
SELDOM_NS = 200_000_000  # between two messages where planning leaves no time
HEAR_NS = 100_000_000  # between two looks at what people do
FACTS_NS = 500_000_000
CURVES = ("reward", "expected return", "planning", "deadline")
UNKNOWN = float("nan")
MOST_POINTS = 64  # that wait for a message


class Pane(Protocol):
    """What a drive needs of its window."""

    @property
    def is_open(self) -> bool:
        """Whether its process lives."""
        ...

    def publish(self, message: Mapping[str, Any]) -> None:
        """Show a message; see `layout`."""
        ...

    def commands(self) -> list[tuple[str, Any]]:
        """What people have done since the last call."""
        ...


class DriveShow:
    """An `Onlooker` of the drive's loop that tells a window; it never waits for it.

    A window that dies is said once, and the drive goes on.

    Args:
        pane: The window.
        log: What the drive counts.
        values: Value of each control at first.
        now_ns: Clock [ns].
    """

    def __init__(
        self,
        pane: Pane,
        log: DriveLog,
        values: Mapping[str, Value],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._pane, self._log, self._now_ns = pane, log, now_ns
        self._values = dict(values)
        self._scene: int | None = None
        self._control_dt = 0.0
        self._actions: Mapping[str, Callable[[], None]] = {}
        self.say: Callable[[str], None] = lambda line: None
        """Called with what the person at the terminal has to know; must not wait."""
        self.is_gone = False
        self.shown = self.skipped = 0
        self._hindsight, self._cut, self._told = Hindsight(), True, 0
        self._points: deque[list[float]] = deque(maxlen=MOST_POINTS)
        self._ticks: tuple[int, ...] = (0,) * len(Rung)
        self._rungs: deque[str] = deque(maxlen=TICKS)
        self._new_rungs = 0
        self._shown_ns = self._heard_ns = self._facts_ns = -SECOND_NS
        self._cost_ns = 0.0

    def begin(
        self, control_dt: float, scene: int | None, actions: Mapping[str, Callable[[], None]]
    ) -> None:
        """The robot has been greeted.

        Args:
            control_dt: Time between two ticks [s].
            scene: Number of the model that poses belong to; None shows curves only.
            actions: What each button does, by its name.
        """
        self._control_dt, self._scene, self._actions = control_dt, scene, actions

    def show(self, reading: Reading, decision: Decision | None, arrived_ns: int) -> None:
        """See `wmrobot.runtime.driving.driver.Onlooker`."""
        if self.is_gone:
            return
        self._follow(reading, decision, arrived_ns)
        begin_ns = self._now_ns()
        self._hear(begin_ns)
        left_ns = arrived_ns + self._control_dt * SECOND_NS - begin_ns
        has_room = left_ns >= SPARE * self._cost_ns
        if not has_room and begin_ns - self._shown_ns < SELDOM_NS:
            self.skipped += 1
            return
        self._pane.publish(self._message(reading, decision, arrived_ns))
        self.shown += 1
        self._shown_ns = self._now_ns()
        self._cost_ns += 0.1 * (self._shown_ns - begin_ns - self._cost_ns)

    def idle(self, silent_ns: int) -> None:
        """See `wmrobot.runtime.driving.driver.Onlooker`."""
        if self.is_gone or silent_ns < HEAR_NS:  # between two readings there is other work
            return
        now_ns = self._now_ns()
        self._hear(now_ns)
        if silent_ns >= FACTS_NS and now_ns - self._facts_ns >= FACTS_NS:
            self._facts_ns = now_ns
            facts = {"robot": f"silent for {silent_ns / SECOND_NS:.0f} s"}
            self._pane.publish({"facts": facts, "values": dict(self._values)})

    def end(self, why: str) -> None:
        """Say what ended the drive."""
        if not self.is_gone:
            self._pane.publish({"say": f"the drive is over: {why}"})

    def _follow(self, reading: Reading, decision: Decision | None, arrived_ns: int) -> None:
        """What no message may be without, whether this reading gets one or not."""
        if self._hindsight.begins(reading.episode):
            self._cut, self._told = True, 0
            self._points.clear()
        if decision is not None and decision.plan is not None:
            value = float(decision.plan.value[0])
            self._hindsight.planned(reading.phase, reading.decision, decision.lead, value)
        for rung, count, before in zip(Rung, reading.ticks, self._ticks, strict=True):
            for _ in range(min(count - before, TICKS)):
                self._rungs.append(rung.name)
                self._new_rungs += 1
        self._ticks = reading.ticks
        if reading.phase in (Phase.RUNNING, Phase.ENDED) and reading.decision > self._told:
            self._add_point(reading, decision, arrived_ns)

    def _add_point(self, reading: Reading, decision: Decision | None, arrived_ns: int) -> None:
        """One point of each curve: the reward that a reading tells, and what was expected."""
        seconds = reading.decision * self._control_dt
        if reading.decision > self._told + 1:  # readings were lost, rewards with them
            self._points.append([seconds - self._control_dt, *[UNKNOWN] * len(CURVES)])
        self._told = reading.decision
        expected = self._hindsight.expected(reading.decision - 1)
        planning, deadline = UNKNOWN, UNKNOWN
        if decision is not None:
            planning = decision.taken_ns["total"] * MS
            deadline = (decision.due_ns - arrived_ns) * MS
        value = UNKNOWN if expected is None else expected
        self._points.append([seconds, reading.outcome.reward, value, planning, deadline])

    def _message(
        self, reading: Reading, decision: Decision | None, arrived_ns: int
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "tick": reading.decision,
            "action": reading.command,
            "guard": ": ".join(filter(None, self._log.guard)),
            "ladder": self._rungs[-1] if reading.phase is Phase.RUNNING and self._rungs else "",
        }
        if self._scene is not None and len(reading.pose):
            message |= {"scene": self._scene, "qpos": reading.pose.astype(np.float64)}
        if self._points:
            message |= {"curve_names": CURVES, "curve_rows": np.array(self._points)}
            self._points.clear()
        new = len(self._rungs) if self._cut else self._new_rungs
        if new:
            message["rungs"] = list(self._rungs)[-new:]
            self._new_rungs = 0
        if self._cut:
            message["cut"], self._cut = True, False
        if decision is not None:
            message |= _planned(reading, decision, arrived_ns)
        if arrived_ns - self._facts_ns >= FACTS_NS:
            self._facts_ns = arrived_ns
            message |= {"facts": self._facts(reading, decision), "values": dict(self._values)}
        return message

    def _facts(self, reading: Reading, decision: Decision | None) -> dict[str, str]:
        """Lines of text, by name."""
        log, total = self._log, sum(reading.ticks)
        facts = {"robot": f"{reading.phase.name.lower()}, episode {log.episodes_begun}"}
        episodes = log.episodes
        if episodes:
            now = episodes[-1]
            facts["episode"] = f"return {now.total:.1f} after {now.decisions} decisions"
            last = episodes[-2] if len(episodes) > 1 else None
            facts["last episode"] = (
                f"return {last.total:.1f} in {last.decisions} decisions" if last else "none yet"
            )
        share = f" ({reading.misses / total:.2%})" if total else ""
        facts["misses"] = f"{reading.misses} of {total} ticks{share} had no fresh plan"
        counts = zip(Rung, reading.ticks, strict=True)
        facts["rungs"] = ", ".join(f"{rung.name} {count}" for rung, count in counts if count)
        if decision is not None:
            lead = decision.lead
            facts["lead"] = f"{ticks(lead)}, {lead * self._control_dt * 1e3:.0f} ms"
            facts["iterations"] = f"{decision.iterations} in the newest plan"
        if self.skipped:
            readings = self.shown + self.skipped
            facts["not shown"] = f"{self.skipped} of {readings} readings, for lack of time"
        return facts

    def _hear(self, now_ns: int) -> None:
        """Do what people asked for, now and then; notice that the window is gone."""
        if now_ns - self._heard_ns < HEAR_NS:
            return
        self._heard_ns = now_ns
        for name, value in self._pane.commands():
            if name in self._actions:
                self._actions[name]()
            elif name in self._values and isinstance(value, type(self._values[name])):
                self._values[name] = value
                self._facts_ns = -SECOND_NS
        if not self._pane.is_open:
            self.is_gone = True
            self.say("the window's process has ended; the drive goes on without it")


def _planned(reading: Reading, decision: Decision, arrived_ns: int) -> dict[str, Any]:
    """What was planned, and what it took."""
    message: dict[str, Any] = {
        "stages_ms": stages_ms(decision.taken_ns, MS),
        "deadline_ms": (decision.due_ns - arrived_ns) * MS,
    }
    if reading.phase is Phase.RUNNING:
        message["plan_gap"] = max(decision.lead - 1, 0)
    if decision.plan is not None:
        return {**message, "plan_mean": decision.plan.mean[0], "plan_std": decision.plan.std[0]}
    if decision.command is not None:
        actions = decision.command.actions
        spread = np.full_like(actions, np.nan)  # of an older plan nobody has kept it
        return {**message, "plan_mean": actions, "plan_std": spread}
    return message
