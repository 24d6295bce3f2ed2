"""The deadline planner against a clock that it cannot change: the answers are known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.test_runtime import describe_cart
from wmrobot.runtime.arrays import FloatArray, Obs
from wmrobot.runtime.bundle.description import Description, PictureDescription
from wmrobot.runtime.driving.deadline import AT_ONCE, DeadlineConfig, DeadlinePlanner, Decision
from wmrobot.runtime.driving.senses import Senses
from wmrobot.runtime.driving.sent_commands import SentCommands
from wmrobot.runtime.driving.timing import MS, Recent, RobotTime
from wmrobot.runtime.errors import BundleError, ObservationError
from wmrobot.runtime.planning.anytime import Start, draw, search
from wmrobot.runtime.planning.noise import Noise
from wmrobot.runtime.planning.planner import Outputs, Previous, nothing_planned
from wmrobot.runtime.planning.stages import Found, Proposals, Stages
from wmrobot.runtime.robot import Command, Phase, Reading, Rung

DT = 20 * MS
OFFSET = 7_000 * MS  # this clock minus the robot's
COSTS = {"encode": MS // 2, "step": MS // 4, "propose": MS // 2, "refine": 3 * MS, "choose": 0}
PRIOR = 0.125


def describe(iterations: int = 4, horizon: int = 3) -> Description:
    cart = describe_cart()
    search_sizes = replace(cart.search, iterations=iterations, horizon=horizon)
    return replace(cart, control_dt=DT * 1e-9, search=search_sizes)


class FakeStages:
    """Takes known times; its latent is what it was told: first sensor, then the actions."""

    def __init__(self, description: Description | None = None) -> None:
        self.description = description or describe()
        self.now_ns = 0
        self.costs = dict(COSTS)
        self.calls: list[str] = []
        self.stepped: list[float] = []
        self.begun: list[tuple[Previous, int]] = []
        self.lost = False
        self.prior, self.gain = PRIOR, 0.1

    def _spend(self, stage: str) -> None:
        self.now_ns += self.costs[stage]
        self.calls.append(stage)

    def _actions(self, value: float) -> FloatArray:
        shape = (1, self.description.search.horizon, self.description.action_dim)
        return np.full(shape, value, np.float32)

    def encode(self, obs: Obs) -> FloatArray:
        self._spend("encode")
        return np.array(obs["state"][:, :1], np.float32)

    def step(self, z: FloatArray, action: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        self._spend("step")
        self.stepped.append(float(action[0, 0]))
        return z + action, np.zeros(1, np.float32), np.ones(1, np.float32)

    def propose(self, z: FloatArray, noise: Noise) -> Proposals:
        self._spend("propose")
        return {"proposed_actions": self.prior * z[:, None, None] + noise.prior}

    def begin(self, previous: Previous, decisions: int = 1) -> Found:
        self.begun.append((previous, decisions))
        none = np.zeros((1, 1), np.float32)
        mean = self._actions(0.0)
        return Found(mean, mean, mean[None], none, none, np.zeros(1, np.int64))

    def refine(
        self, z: FloatArray, found: Found, proposals: Proposals, noise: Noise, iteration: int
    ) -> Found:
        self._spend("refine")
        return found._replace(mean=found.mean + np.float32(self.gain))

    def choose(self, found: Found) -> Outputs:
        self._spend("choose")
        one = np.zeros(1, np.float32)
        invalid = self.description.search.num_samples if self.lost else 0
        return Outputs(
            found.mean[:, 0], found.mean, found.std, one, one, np.array([invalid]), found.elites
        )


class Loop:
    """Robot and planner; every reading takes `down` to come, every command `up` to arrive."""

    def __init__(
        self, *, down: int = MS, up: int = MS, ways_known: bool = True, **cfg: Any
    ) -> None:
        self.stages = FakeStages(cfg.pop("description", None))
        self.planner = DeadlinePlanner(
            self.stages, DeadlineConfig(**cfg), lambda: self.stages.now_ns
        )
        self.planner.rehearse(5)
        self.stages.calls.clear()
        self.stages.stepped.clear()
        self.stages.begun.clear()
        self.down, self.up = down, up
        if ways_known:
            self.planner.time.round_trip.add(down + up)
        self.tick = 0
        self.told: dict[str, Any] = {"phase": Phase.READY, "episode": 1}
        self.arrived: list[tuple[int, int]] = []  # (robot time, sequence)

    def __call__(self, *, late_ns: int = 0, lost: bool = False, **told: Any) -> Decision:
        """One tick: a reading is told, and reacted to `late_ns` after it came."""
        self.tick += 1
        self.told |= told
        stamp = self.tick * DT
        here = [entry for entry in self.arrived if entry[0] <= stamp]
        received_ns, received = max(here, key=lambda entry: entry[1], default=(0, 0))
        reading = Reading(
            sequence=self.tick,
            time_ns=stamp,
            sensors=np.array([self.tick, 0, 0], np.float32),
            command=np.full(1, self.tick / 100, np.float32),
            received=received,
            received_ns=received_ns,
            **self.told,
        )
        arrived_ns = stamp + OFFSET + self.down
        self.stages.now_ns = arrived_ns + late_ns
        state = self.planner.heard(reading, arrived_ns)
        decision = self.planner.decide(reading, state, arrived_ns)
        if decision.command is not None:
            self.planner.sent(decision.command, self.stages.now_ns)
            if not lost:
                there = self.stages.now_ns - OFFSET + self.up
                self.arrived.append((there, decision.command.sequence))
        self.told |= {"phase": Phase.RUNNING, "decision": self.told.get("decision", -1) + 1}
        return decision


def sent(decision: Decision) -> Command:
    assert decision.command is not None
    return decision.command


def test_what_a_robot_received_in_another_session_does_not_hide_its_answers() -> None:
    loop = Loop(up=6 * MS, down=6 * MS, ways_known=False)
    loop.arrived.append((-1, 5000))  # the last command of the drive before
    loop()
    loop.arrived.clear()  # the first of this one has come
    decisions = [loop() for _ in range(12)]
    assert len(loop.planner.time.round_trip) > 5
    assert loop.planner.time.round_trip.newest == 12 * MS
    assert decisions[-1].lead == 2


def test_with_time_enough_all_iterations_are_done() -> None:
    loop = Loop()
    decision = loop()
    assert (decision.iterations, decision.lead) == (4, 1)
    command = sent(decision)
    assert (command.rung, command.made_from, command.when_ns) == (Rung.FRESH, 1, 2 * DT)
    np.testing.assert_allclose(command.actions, 0.4, rtol=1e-6)
    assert loop.stages.calls == ["encode", "propose", *["refine"] * 4, "choose"]
    assert loop().command is not None


def test_the_search_stops_when_the_budget_is_spent() -> None:
    # 20 ms to the next tick: 1 each way, 1 spare, 1.25 around the search, 3 for each iteration
    for late_ms, expected in ((0, 4), (3, 4), (4, 3), (6, 3), (7, 2), (9, 2), (10, 1), (12, 1)):
        loop = Loop()
        for _ in range(3):
            loop()
        decision = loop(late_ns=late_ms * MS)
        assert decision.iterations == expected, late_ms
        assert sent(decision).rung == Rung.FRESH
        assert loop.stages.now_ns <= decision.due_ns


def test_a_stage_that_has_become_slow_costs_iterations() -> None:
    loop = Loop()
    loop()
    loop.stages.costs["refine"] = 5 * MS
    assert [loop().iterations for _ in range(3)] == [3, 3, 3]  # the first time on the way


def test_the_latent_is_rolled_through_what_the_robot_told_it_does() -> None:
    loop = Loop()
    loop()  # at rest: nothing moves until the first command takes effect
    assert loop.stages.stepped == []
    decision = loop()
    np.testing.assert_allclose(loop.stages.stepped, [0.02], rtol=1e-6)
    np.testing.assert_allclose(decision.start.committed, [[0.02]], rtol=1e-6)


def test_longer_ways_take_more_lead_and_roll_through_plans_on_their_way() -> None:
    loop = Loop(down=20 * MS, up=20 * MS, ways_known=False)
    leads = [loop(phase=Phase.READY, decision=0).lead for _ in range(5)]
    assert leads == [8, 8, 8, 3, 3]  # far ahead, until the first command has been told of
    # reading 20 ms, command 20 ms, 1 spare, 7 for half of the iterations: within 3 ticks
    assert {loop(phase=Phase.RUNNING).lead for _ in range(10)} == {3}
    loop.stages.stepped.clear()
    decision = loop()
    assert sent(decision).when_ns == (loop.tick + 3) * DT
    assert decision.iterations == 4
    # what the robot tells, then the first actions of the two plans that are on their way
    np.testing.assert_allclose(loop.stages.stepped, [loop.tick / 100, 0.4, 0.4], rtol=1e-6)


def test_without_compensation_nothing_is_rolled_and_plans_act_at_once() -> None:
    loop = Loop(down=20 * MS, up=20 * MS, compensate=False)
    for _ in range(8):
        decision = loop()
    assert loop.stages.stepped == []
    assert (decision.lead, decision.iterations) == (0, 4)
    assert sent(decision).when_ns == AT_ONCE
    assert [decisions for _, decisions in loop.stages.begun[1:]] == [1] * 7


def test_in_lockstep_no_clock_counts() -> None:
    loop = Loop(lockstep=True)
    loop.stages.costs["refine"] = 500 * MS
    decision = loop()
    assert (decision.iterations, decision.lead) == (4, 0)
    assert loop.stages.stepped == []


def test_fewer_iterations_may_be_asked_for() -> None:
    assert Loop(iterations=2)().iterations == 2


def test_warm_start_is_shifted_by_the_decisions_that_passed() -> None:
    loop = Loop()
    loop()
    loop()
    loop.tick += 1  # a reading is lost
    loop()
    loop.tick += 5
    loop()
    assert not loop.stages.begun[0][0].valid[0]
    assert [decisions for _, decisions in loop.stages.begun[1:3]] == [1, 2]
    assert not loop.stages.begun[3][0].valid[0]  # the horizon has passed


def test_short_of_time_the_last_plan_goes_on() -> None:
    loop = Loop()
    plan = sent(loop())
    decision = loop(late_ns=17 * MS)
    command = sent(decision)
    assert (decision.plan, decision.iterations) == (None, 0)
    assert (command.rung, command.made_from) == (Rung.SHIFTED, plan.made_from)
    assert command.when_ns == 3 * DT
    np.testing.assert_array_equal(command.actions, plan.actions[1:])
    assert loop.stages.calls.count("encode") == 1


def test_after_the_last_plan_comes_the_prior_and_then_nothing() -> None:
    loop = Loop(description=describe(horizon=2))
    loop()
    assert sent(loop(late_ns=17 * MS)).rung == Rung.SHIFTED
    command = sent(loop(late_ns=15 * MS))
    assert (command.rung, command.made_from) == (Rung.PRIOR, 3)
    # at its mean, from what was measured rolled through what the motors do until then
    np.testing.assert_allclose(command.actions, np.full((2, 1), PRIOR * 3.03), rtol=1e-6)
    loop.tick += 3
    assert loop(late_ns=18 * MS).command is None


@pytest.mark.parametrize(("prior", "sent"), [(np.nan, None), (-3.0, -1.0)])
def test_a_prior_that_is_not_finite_is_not_sent_and_one_too_large_is_cut(
    prior: float, sent: float | None
) -> None:
    loop = Loop(description=describe(horizon=1))
    loop()
    loop.stages.prior = prior
    command = loop(late_ns=15 * MS).command
    assert (command and command.actions.tolist()) == (sent and [[sent]])


def test_without_proposals_there_is_no_prior_to_fall_back_on() -> None:
    few = describe(horizon=1)
    loop = Loop(description=replace(few, search=replace(few.search, num_prior=0)))
    loop()
    assert loop(late_ns=15 * MS).command is None


def test_every_plan_has_noise_of_its_own() -> None:
    loop = Loop()
    assert len({loop().start.noise_seed for _ in range(10)}) == 10
    other = Loop(seed=1)
    assert other().start.noise_seed > 2**32


def test_a_search_is_tried_again_though_it_was_too_slow() -> None:
    loop = Loop()
    loop()
    loop.stages.costs["refine"] = 30 * MS
    for _ in range(200):
        loop()
    loop.stages.costs["refine"] = 3 * MS
    assert sum(loop().iterations > 0 for _ in range(1000)) > 500


@pytest.mark.parametrize("lost", [{"lost": True}, {"gain": np.nan}])
def test_a_plan_that_is_lost_is_never_sent(lost: dict[str, Any]) -> None:
    loop = Loop(description=describe(horizon=1))
    vars(loop.stages).update(lost)
    decision = loop()
    assert decision.plan is None
    assert sent(decision).rung == Rung.PRIOR


def test_a_command_that_got_lost_is_not_counted_on() -> None:
    loop = Loop(down=20 * MS, up=20 * MS)
    for _ in range(12):
        loop()
    lost = sent(loop(lost=True))
    for _ in range(3):
        decision = loop()
    assert lost.sequence not in [c.sequence for c, _ in loop.planner.sent_commands._sent]
    assert sent(decision).rung == Rung.FRESH


def test_an_episode_starts_afresh() -> None:
    loop = Loop()
    loop()
    loop()
    loop(phase=Phase.READY, episode=2, decision=0)
    assert not loop.stages.begun[-1][0].valid[0]
    assert len(loop.stages.stepped) == 1


def test_an_episode_knows_nothing_of_the_plans_before_it() -> None:
    loop = Loop(down=20 * MS, up=20 * MS)
    for _ in range(5):
        loop()
    decision = loop(phase=Phase.READY, episode=2, decision=0)
    assert (decision.lead, len(decision.start.committed)) == (3, 0)


def test_shorter_ways_are_made_use_of_when_they_have_lasted() -> None:
    loop = Loop(down=20 * MS, up=20 * MS)
    for _ in range(10):
        loop()
    loop.down = loop.up = MS
    leads = [loop().lead for _ in range(200)]
    assert leads[:50] == [3] * 50
    assert leads[-1] == 1


def test_what_is_not_finite_is_refused() -> None:
    loop = Loop()
    reading = Reading(
        sequence=1,
        time_ns=DT,
        sensors=np.array([np.nan, 0, 0], np.float32),
        command=np.zeros(1, np.float32),
    )
    with pytest.raises(ObservationError, match="expected a finite number"):
        loop.planner.heard(reading, DT)


def test_planners_of_pictures_or_of_many_are_refused() -> None:
    pictures = PictureDescription(shape=(3, 64, 64), frame_stack=3, cameras=("side",))
    for changed, message in (
        (
            replace(describe(), pictures=pictures),
            r"expected a planner of obs=state, got one of \['",
        ),
        (replace(describe(), batch=4), "expected a planner of one robot, got one of 4"),
    ):
        with pytest.raises(BundleError, match=message):
            Loop(description=changed)


def test_the_robots_clock_needs_no_symmetric_ways() -> None:
    time = RobotTime(window=4)
    for stamp, way in ((0, 5), (20, 3), (40, 9)):
        time.heard(stamp * MS, (stamp + way + 100) * MS)
    assert time.offset_ns == 103 * MS
    assert time.age.quantile(1.0) == 6 * MS
    assert time.there(time.here(50)) == 50
    time.answered(sent_ns=150 * MS, received_ns=(150 - 100 + 8) * MS)
    assert time.round_trip.newest == (8 + 3) * MS  # both ways, whichever is longer
    for stamp in (60, 80, 100, 120):
        time.heard(stamp * MS, (stamp + 4 + 100) * MS)
    assert time.offset_ns == 104 * MS  # clocks drift: what is old is forgotten


def test_quantiles_of_the_newest_values() -> None:
    recent = Recent(4)
    assert recent.quantile(0.5, default=7) == 7
    for value in (9, 1, 2, 3, 4):
        recent.add(value)
    assert [recent.quantile(q) for q in (0.0, 0.5, 0.75, 1.0)] == [1, 2, 3, 4]


def command(sequence: int, when: int, *actions: float, rung: Rung = Rung.FRESH) -> Command:
    values = np.array(actions, np.float32)[:, None]
    return Command(
        sequence=sequence, made_from=sequence, when_ns=when * DT, actions=values, rung=rung
    )


def test_the_newest_command_that_is_due_counts() -> None:
    sent = SentCommands(DT)
    assert sent.at(0) is None
    sent.sent(command(1, 2, 0.1, 0.2, 0.3), 0)
    sent.sent(command(2, 4, 0.5, 0.6), 1)
    found = {tick: sent.at(tick * DT) for tick in (1, 2, 3, 4, 5, 7)}
    told = {tick: hit and (hit[0].sequence, hit[1]) for tick, hit in found.items()}
    assert told == {1: None, 2: (1, 0), 3: (1, 1), 4: (2, 0), 5: (2, 1), 7: (2, 3)}
    assert sent.at(4 * DT - DT // 5) == found[4]  # a tick that is a little early
    running = Reading(
        sequence=3, time_ns=3 * DT, sensors=np.zeros(3, np.float32), phase=Phase.RUNNING,
        command=np.array([0.9], np.float32),
    )  # fmt: skip
    actions = np.concatenate(sent.committed(running, 5))
    np.testing.assert_allclose(actions, [0.9, 0.5, 0.6, 0.6, 0.6])  # the last one is held
    rest = sent.remainder(5 * DT)
    assert rest is not None
    np.testing.assert_allclose(rest[1], [[0.6]])
    assert sent.remainder(6 * DT) is None


def test_lost_readings_are_bridged_in_the_history() -> None:
    cart = describe_cart()
    assert cart.state is not None
    built = replace(cart.state, history=3, previous_actions=2, dim=11)
    senses = Senses(replace(cart, state=built))

    def reading(sequence: int, **told: Any) -> Reading:
        return Reading(
            sequence=sequence, time_ns=0, sensors=np.full(3, sequence, np.float32),
            command=np.full(1, sequence / 10, np.float32),
            **{"phase": Phase.RUNNING, "episode": 1, "decision": sequence, **told},
        )  # fmt: skip

    def first_of(state: FloatArray) -> list[float]:
        return [float(x) for x in [*state[0, 0:9:3], *state[0, 9:]]]

    ready: Mapping[str, Any] = {"phase": Phase.READY, "decision": 0}
    assert first_of(senses.observe(reading(0, **ready))) == [0, 0, 0, 0, 0]
    assert first_of(senses.observe(reading(1, decision=0))) == [1, 1, 1, 0, 0]
    assert first_of(senses.observe(reading(2))) == pytest.approx([1, 1, 2, 0, 0.1])
    assert first_of(senses.observe(reading(4))) == pytest.approx([2, 2, 4, 0.2, 0.2])
    assert first_of(senses.observe(reading(5, episode=2))) == [5, 5, 5, 0, 0]  # its start is lost


@pytest.mark.parametrize(("acts_within", "seen"), [(False, [0, 0.5]), (True, [0.5, 0.75])])
def test_a_reading_tells_the_command_of_its_tick_or_of_the_one_before(
    acts_within: bool, seen: list[float]
) -> None:
    cart = describe_cart()
    assert cart.state is not None
    built = replace(cart.state, previous_actions=2, dim=5)
    senses = Senses(replace(cart, state=built), acts_within=acts_within)
    commands = (0, 0.5, 0.75)
    for decision, command in enumerate(commands):
        state = senses.observe(
            Reading(
                sequence=decision, time_ns=0, sensors=np.zeros(3, np.float32), episode=1,
                command=np.array([command], np.float32), decision=decision,
                phase=Phase.RUNNING if decision else Phase.READY,
            )
        )  # fmt: skip
    assert state[0, 3:].tolist() == seen


def test_stages_make_the_plan_that_the_one_graph_makes(cart_bundle: Any) -> None:
    stages = Stages.load(cart_bundle)
    noise = draw(stages.description, 5)
    state = np.array([[0.5, -9.5, 1.0]], np.float32)
    previous = nothing_planned(stages.description, 1)
    start = Start(
        state=state,
        committed=np.zeros((0, 1), np.float32),
        noise_seed=5,
        previous=previous,
        decisions=1,
    )
    plan, done = search(stages, start, noise, lambda done: True)
    assert done == stages.description.search.iterations
    expected = stages.plan({"state": state}, noise, previous)
    np.testing.assert_array_equal(plan.mean, expected.mean)
    rolled, _ = search(
        stages, replace(start, committed=np.ones((1, 1), np.float32)), noise, lambda done: True
    )
    assert (rolled.mean != plan.mean).any()
    later = stages.begin(plan.as_previous(), 2).mean
    np.testing.assert_array_equal(later[:, :-2], plan.mean[:, 2:])
    assert not later[:, -2:].any()
