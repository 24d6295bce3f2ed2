"""The deadline planner: from a reading to a command that arrives before it is due.

Pure decisions over an injected clock. A reading says what was true when it was stamped; a command
made from it takes effect `lead` ticks later. So the latent is rolled forward through the actions
that the motors will execute until then, and the search may take as long as is left. When that is
too short for one iteration, there is a ladder: the last plan, shifted; the policy prior; nothing,
and then the guard holds the last action and stops the robot in the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.driving.lead import Lead
from wmrobot.runtime.driving.senses import Senses
from wmrobot.runtime.driving.sent_commands import SentCommands
from wmrobot.runtime.driving.timing import MS, Costs, RobotTime, Stopwatch
from wmrobot.runtime.errors import BundleError
from wmrobot.runtime.planning.anytime import Planning, Start, draw, is_sound, prior_plan, search
from wmrobot.runtime.planning.planner import Outputs, Previous, nothing_planned
from wmrobot.runtime.robot import Command, Phase, Reading, Rung

KNOWN = 8
"""Round trips that have to be known before a command that is late is taken for lost."""

AT_ONCE = 0
"""As a command's `when_ns`: on its arrival."""
TRY_AFTER = 8
"""Readings without a search, until one is tried though there seems to be no time: what was measured
on a machine that was busy may no longer be true, and only a search can tell."""


@dataclass(frozen=True, kw_only=True)
class DeadlineConfig:
    """How a deadline planner plans.

    Attributes:
        compensate: Roll the latent forward to the time at which the plan takes effect. Without it,
            plans start from what was measured and are executed as soon as they are ready.
        lockstep: The robot waits for every command: no clock, no lead, all iterations.
        iterations: At most so many a plan; None takes what the bundle was exported with.
        margin_ns: How much earlier than measured a command leaves.
        seed: Of the noise.
    """

    compensate: bool = True
    lockstep: bool = False
    iterations: int | None = None
    margin_ns: int = MS
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """What came of one reading.

    Attributes:
        command: To send; None where the guard has to hold.
        start: What a plan is made from.
        plan: The fresh plan, if there is one.
        iterations: That it took.
        lead: Ticks from the reading to the command.
        due_ns: When the command had to leave, by this clock [ns].
        taken_ns: By stage [ns]; `refine` is of all iterations, `total` from arrival to the end.
    """

    command: Command | None
    start: Start
    plan: Outputs | None
    iterations: int
    lead: int
    due_ns: int
    taken_ns: dict[str, int]


class DeadlinePlanner:
    """Plans for one robot, on time.

    Args:
        stages: Of the planner.
        cfg: How to plan.
        now_ns: This clock [ns]; never goes back.

    Raises:
        BundleError: The planner sees pictures, which the wire does not carry, or is for several.
    """

    def __init__(self, stages: Planning, cfg: DeadlineConfig, now_ns: Callable[[], int]) -> None:
        _check(stages.description)
        self._stages, self.cfg, self._now_ns = stages, cfg, now_ns
        self.description = stages.description
        self.control_dt_ns = round(self.description.control_dt * 1e9)
        self._most = self.description.search.iterations
        if cfg.iterations is not None:
            self._most = min(cfg.iterations, self._most)
        self.costs, self.time = Costs(), RobotTime()
        self.lead = Lead(self.control_dt_ns, cfg.margin_ns, enough=-(-self._most // 2))
        self.sent_commands = SentCommands(self.control_dt_ns)
        self._senses = Senses(self.description, acts_within=cfg.lockstep or not cfg.compensate)
        self._last: tuple[Outputs, int] | None = None  # newest fresh plan and its `when_ns`
        self._episode = -1
        self._answered = self._sequence = self._plans = self._idle = 0
        self._noise = self._seed(), draw(self.description, self._seed())

    def heard(self, reading: Reading, arrived_ns: int) -> FloatArray:
        """Take a reading, to be told of each in order; returns `state` (1, O).

        Raises:
            ObservationError: Something in it is not finite.
        """
        self.time.heard(reading.time_ns, arrived_ns)
        if reading.episode != self._episode:
            self._episode = reading.episode
            self.sent_commands.clear()
            self._last = None
        if reading.received != self._answered:  # may be higher at first: of another session
            self._answered = reading.received
            sent_ns = self.sent_commands.when_sent(reading.received)
            if sent_ns is not None:
                self.time.answered(sent_ns, reading.received_ns)
        return self._senses.observe(reading)

    def decide(self, reading: Reading, state: FloatArray, arrived_ns: int) -> Decision:
        """The command that a reading leads to.

        Args:
            reading: The newest one, READY or RUNNING.
            state: What `heard` made of it.
            arrived_ns: When it arrived, by this clock [ns].
        """
        begin_ns = self._now_ns()
        lead, when_ns, due_ns = self._dates(reading, arrived_ns)
        committed = self._committed(reading, lead)
        taken: dict[str, int] = {}
        start = self._start(state, committed, when_ns)
        plan, done = None, 0
        if due_ns - begin_ns >= self.costs.shortest(len(committed)) or self._idle >= TRY_AFTER:
            plan, done = self._plan(start, due_ns, taken)
        self._idle = 0 if done else self._idle + 1
        command: Command | None
        if plan is not None:
            self._last = plan, when_ns
            if not self.cfg.compensate and not self.cfg.lockstep:
                when_ns = AT_ONCE
            command = self._command(reading.sequence, when_ns, plan.mean[0], Rung.FRESH)
        else:
            command = self._fall_back(reading, state, committed, when_ns, due_ns)
        taken["total"] = self._now_ns() - arrived_ns
        return Decision(
            command=command, start=start, plan=plan, iterations=done, lead=lead, due_ns=due_ns,
            taken_ns=taken,
        )  # fmt: skip

    def sent(self, command: Command, sent_ns: int) -> None:
        """A command has left for the robot."""
        if command.when_ns == AT_ONCE:
            command = replace(command, when_ns=self.time.there(sent_ns))
        self.sent_commands.sent(command, sent_ns)

    def prepare(self) -> None:
        """What can be done before the next reading comes: draw its noise."""
        if self._noise[0] != self._seed():
            self._noise = self._seed(), draw(self.description, self._seed())

    def rehearse(self, times: int = 20) -> None:
        """Measure every stage before it counts; the first runs are slower than all others."""
        assert self.description.state is not None
        state = np.zeros((1, self.description.state.dim), np.float32)
        still = np.zeros((1, self.description.action_dim), np.float32)
        for run in range(times + 3):
            if run == 3:
                self.costs = Costs()
            self._plan(self._start(state, still, 0), None, {})

    def _dates(self, reading: Reading, arrived_ns: int) -> tuple[int, int, int]:
        """Lead [ticks], when its command takes effect (robot's clock), and when it has to leave."""
        if self.cfg.lockstep:
            return 0, reading.time_ns, arrived_ns + 3600 * 1000 * MS
        most_ns = (
            arrived_ns + self.control_dt_ns - self.cfg.margin_ns
        )  # then the next reading is here
        if not self.cfg.compensate:
            return 0, reading.time_ns, most_ns
        lead = self.lead.update(self.time, self.costs, moving=reading.phase is Phase.RUNNING)
        when_ns = reading.time_ns + lead * self.control_dt_ns
        there_by_ns = self.time.here(when_ns) - self.time.round_trip.quantile(0.95)
        return lead, when_ns, min(there_by_ns - self.cfg.margin_ns, most_ns)

    def _committed(self, reading: Reading, lead: int) -> FloatArray:
        """(L, A) actions that the motors execute before the new command takes effect."""
        if lead == 0:
            return np.zeros((0, self.description.action_dim), np.float32)
        if len(self.time.round_trip) >= KNOWN:
            longest_ns = self.time.round_trip.quantile(1.0) + MS
            self.sent_commands.drop_lost(reading, self.time.here(reading.time_ns) - longest_ns)
        actions = self.sent_commands.committed(reading, lead)
        return np.array(actions, np.float32).reshape(-1, self.description.action_dim)

    def _plan(
        self, start: Start, due_ns: int | None, taken: dict[str, int]
    ) -> tuple[Outputs | None, int]:
        """Search until the time is over; None where nothing finite was found. And iterations."""
        seed, noise = self._noise
        assert seed == start.noise_seed, "noise of another plan"
        self._plans += 1

        def goes_on(done: int) -> bool:
            needed_ns = self.costs.of("refine") + self.costs.of("choose")
            in_time = due_ns is None or self._now_ns() + needed_ns <= due_ns
            return done < self._most and in_time

        watch = Stopwatch(self._now_ns, self.costs, taken)
        plan, done = search(self._stages, start, noise, goes_on, watch)
        return (plan if is_sound(plan, self.description) else None), done

    def _start(self, state: FloatArray, committed: FloatArray, when_ns: int) -> Start:
        self.prepare()
        previous, decisions = self._previous(when_ns)
        return Start(
            state=state,
            committed=committed,
            noise_seed=self._noise[0],
            previous=previous,
            decisions=decisions,
        )

    def _previous(self, when_ns: int) -> tuple[Previous, int]:
        """What a search for that time starts from, and the decisions that lie between."""
        if self._last is None:
            return nothing_planned(self.description, 1), 1
        plan, last_ns = self._last
        decisions = max(round((when_ns - last_ns) / self.control_dt_ns), 0)
        if decisions >= self.description.search.horizon:
            return nothing_planned(self.description, 1), 1
        return plan.as_previous(), decisions

    def _fall_back(
        self,
        reading: Reading,
        state: FloatArray,
        committed: FloatArray,
        when_ns: int,
        due_ns: int,
    ) -> Command | None:
        """The rungs below a fresh plan, as far as a planner climbs down."""
        if (rest := self.sent_commands.remainder(when_ns)) is not None:
            plan, actions = rest
            return self._command(plan.made_from, when_ns, actions, Rung.SHIFTED)
        if due_ns - self._now_ns() < self.costs.prior(len(committed)):
            return None
        self.prepare()
        prior = prior_plan(self._stages, state, committed, self._noise[1])
        if prior is None or not np.isfinite(prior).all():
            return None
        return self._command(reading.sequence, when_ns, prior, Rung.PRIOR)

    def _command(self, made_from: int, when_ns: int, actions: FloatArray, rung: Rung) -> Command:
        self._sequence += 1
        return Command(
            sequence=self._sequence,
            made_from=made_from,
            when_ns=when_ns,
            actions=np.clip(actions, -1.0, 1.0).astype(np.float32),
            rung=rung,
        )

    def _seed(self) -> int:
        """Of the next plan's noise."""
        return self.cfg.seed * 2**32 + self._plans


def _check(description: Description) -> None:
    if description.pictures is not None or description.state is None:
        raise BundleError(
            f"obs: expected a planner of obs=state, got one of {sorted(description.obs_shapes)}; "
            "the wire carries no pictures"
        )
    if description.batch not in (None, 1):
        raise BundleError(
            f"batch: expected a planner of one robot, got one of {description.batch}; "
            "export it with batch=1"
        )
