"""The batched engine gives what dm_control gives, to the last bit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.runs import assert_same
from tests.test_vector import as_bytes, play
from wmrobot.core.errors import ConfigError, ObservationError, TaskError
from wmrobot.core.spec import FloatArray, ObsMode, Step
from wmrobot.envs.batched.ported import PORTED, RESETS_CHANGE_MODEL, is_ported
from wmrobot.envs.registry import task_names
from wmrobot.envs.suite import suite_names
from wmrobot.envs.task import ParameterRange, Randomization
from wmrobot.envs.vector import VectorEnv

TASKS = [name for name in task_names() if is_ported(name)]
FAST_TASKS = ("cartpole-swingup", "reacher-easy", "walker-run")
Pair = tuple[VectorEnv, VectorEnv]


@contextmanager
def pair(name: str, num_envs: int = 3, seed: int = 5, threads: int = 0) -> Iterator[Pair]:
    """Rows stepped as a batch, and one after another."""
    with (
        VectorEnv(name, num_envs, seed=seed, batched=True, workers=threads) as ours,
        VectorEnv(name, num_envs, seed=seed, batched=False) as theirs,
    ):
        yield ours, theirs


def actions_of(env: VectorEnv, decisions: int, seed: int = 0) -> FloatArray:
    """Random ones, some out of range."""
    generator = np.random.default_rng(seed)
    shape = (decisions, env.num_envs, env.task_spec.action_dim)
    return generator.uniform(-1.3, 1.3, shape).astype(np.float32)


def check_equal(ours: VectorEnv, theirs: VectorEnv, actions: FloatArray) -> list[Step]:
    """Step both; every bit is the same."""
    steps = []
    for action in actions:
        steps.append(theirs.step(action))
        assert as_bytes([ours.step(action)]) == as_bytes(steps[-1:])
    return steps


def test_everything_ported_is_listed() -> None:
    from wmrobot.envs.batched.ports import PORTS

    assert PORTED.keys() == PORTS.keys()
    assert len(TASKS) == sum(map(len, PORTED.values()))
    assert {suite_names()[name] for name in TASKS} >= RESETS_CHANGE_MODEL


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST_TASKS else pytest.mark.slow) for name in TASKS],
)
def test_equals_dm_control(name: str) -> None:
    with pair(name) as (ours, theirs):
        assert_same(ours.reset(), theirs.reset())
        check_equal(ours, theirs, actions_of(ours, 12))
        assert_same(ours.snapshot(), theirs.snapshot())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5])
@pytest.mark.parametrize("name", TASKS)
def test_equals_dm_control_over_whole_episodes(name: str, seed: int) -> None:
    episodes = 3 if name in FAST_TASKS else 1
    with pair(name, seed=seed) as (ours, theirs):
        assert_same(ours.reset(), theirs.reset())
        steps = check_equal(ours, theirs, actions_of(ours, 500 * episodes + 10, seed))
        ends = [i for i, step in enumerate(steps) if step.truncated.all()]
        assert ends == [499, 999, 1499][:episodes]
        assert_same(ours.snapshot(), theirs.snapshot())


def aim(env: VectorEnv, scale: float, generator: np.random.Generator) -> dict[str, object]:
    """A snapshot of `env` with every row's robot at rest as modelled, but for some noise."""
    snapshot = env.snapshot()
    for row, state in enumerate(snapshot["rows"].values()):
        model = env.physics(row).model.ptr  # type: ignore[union-attr]
        qpos = model.qpos0 + scale * generator.standard_normal(model.nq)
        state["integration"][1 : 1 + model.nq] = qpos
        qvel = slice(1 + model.nq, 1 + model.nq + model.nv)
        state["integration"][qvel] = 10 * scale * generator.standard_normal(model.nv)
    return snapshot


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_equals_dm_control_near_the_goal(name: str) -> None:
    """Random actions alone seldom come where rewards are paid."""
    generator = np.random.default_rng(3)
    with pair(name, num_envs=8) as (ours, theirs):
        ours.reset()
        theirs.reset()
        for scale in np.repeat((0.003, 0.01, 0.03, 0.1, 0.3, 1.0), 3):
            snapshot = aim(theirs, scale, generator)
            assert_same(ours.restore(snapshot), theirs.restore(snapshot))
            for action in 0.3 * actions_of(ours, 4, seed=int(1e3 * scale)):
                try:
                    step = theirs.step(action)
                except ObservationError as error:  # so far from rest, some simulations diverge
                    with pytest.raises(ObservationError, match=re.escape(str(error))):
                        ours.step(action)
                    return
                assert as_bytes([ours.step(action)]) == as_bytes([step])


@pytest.mark.parametrize("name", ["reacher-easy", "cartpole-swingup"])
@pytest.mark.parametrize(("num_envs", "threads"), [(1, 0), (3, 2), (8, 2)])
def test_any_number_of_rows_and_threads(name: str, num_envs: int, threads: int) -> None:
    with pair(name, num_envs, threads=threads) as (ours, theirs):
        assert_same(ours.reset(), theirs.reset())
        check_equal(ours, theirs, actions_of(ours, 8))


@pytest.mark.parametrize("name", ["reacher-easy", "walker-walk"])
@pytest.mark.parametrize("source", [0, 1])
def test_snapshots_are_exchanged(name: str, source: int) -> None:
    with pair(name) as envs, pair(name) as others:
        for env in (*envs, *others):
            env.reset()
        play(envs[source], 7)
        snapshot = envs[source].snapshot()
        expected = as_bytes(play(envs[source], 5, seed=1))
        for env in others:
            play(env, 2, seed=2)
            env.restore(snapshot)
            assert as_bytes(play(env, 5, seed=1)) == expected


def test_rows_whose_episodes_end_at_different_times() -> None:
    with pair("reacher-easy") as (ours, theirs):
        ours.reset()
        theirs.reset()
        play(theirs, 2)
        early = theirs.snapshot()
        play(theirs, 4)
        mixed = theirs.snapshot()
        mixed["rows"]["1"] = early["rows"]["1"]
        mixed["obs"]["state"][1] = early["obs"]["state"][1]
        assert_same(ours.restore(mixed), theirs.restore(mixed))
        steps = check_equal(ours, theirs, actions_of(ours, 500))
        ends = [np.flatnonzero([step.truncated[row] for step in steps]) for row in range(3)]
        assert [end.tolist() for end in ends] == [[493], [497], [493]]


@pytest.mark.parametrize("name", ["reacher-easy", "quadruped-walk"])
def test_bare_physics_goes_through_the_same_states(name: str) -> None:
    with VectorEnv(name, 2, seed=1, batched=True) as env:
        assert env.bare_physics() is None
        env.reset()
        bare = env.bare_physics()
        assert bare is not None
        followed = []
        for action in np.tile(actions_of(env, 4), (126, 1, 1)):
            followed.append(bare.follow())
            bare.take(action)
            bare.step()
            env.step(action)
        assert np.flatnonzero(~np.array(followed)).tolist() == [0, 500]  # the second episode


def test_what_is_not_finite_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with VectorEnv("cheetah-run", 2, seed=1, batched=True) as env:
        env.reset()
        port = env._here._port  # type: ignore[union-attr]
        seen = port.observe()[0].copy()
        monkeypatch.setattr(port, "observe", lambda: (seen,))
        seen[1, 3] = 1e25  # too large to square in float32, and no mistake
        assert env.step(np.zeros((2, 6), np.float32)).obs["state"][1, 3] == np.float32(1e25)
        seen[1, 3] = 1e39
        with pytest.raises(
            ObservationError, match=r"^cheetah-run: observation 'position\[3\]': ex"
        ):
            env.step(np.zeros((2, 6), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("obs", ["rgb", "state+rgb"])
@pytest.mark.parametrize("name", ["cheetah-run", "reacher-easy"])
def test_pictures_are_those_of_the_rows(name: str, obs: ObsMode) -> None:
    options: dict[str, Any] = {"obs": obs, "render": "fast", "image_size": 32}
    with (
        VectorEnv(name, 3, seed=5, **options) as ours,
        VectorEnv(name, 3, seed=5, batched=False, **options) as theirs,
    ):
        assert ours.bare_physics() is None
        assert_same(ours.reset(), theirs.reset())
        assert ours.bare_physics() is not None  # taken by itself
        steps = check_equal(ours, theirs, actions_of(ours, 501))
        assert steps[499].truncated.all()
        snapshot = ours.snapshot()
        assert_same(snapshot, theirs.snapshot())
        assert_same(ours.restore(snapshot), theirs.restore(snapshot))
        check_equal(ours, theirs, actions_of(ours, 2, seed=1))


def test_rows_are_independent() -> None:
    with VectorEnv("walker-run", 3, seed=1, batched=True) as env:
        env.reset()
        snapshot, actions = env.snapshot(), actions_of(env, 4)
        expected = [env.step(action).obs["state"] for action in actions]
        env.restore(snapshot)
        actions[:, 1] *= -1
        found = [env.step(action).obs["state"] for action in actions]
        for one, other in zip(expected, found, strict=True):
            assert np.array_equal(one[[0, 2]], other[[0, 2]])
            assert not np.array_equal(one[1], other[1])


def test_physics_follows_and_is_drawn() -> None:
    with pair("cartpole-swingup") as (ours, theirs):
        ours.reset()
        theirs.reset()
        here, there = ours.physics(1), theirs.physics(1)
        check_equal(ours, theirs, actions_of(ours, 3))
        assert here is not None
        assert there is not None
        assert np.array_equal(here.data.xmat, there.data.xmat)
        assert np.array_equal(ours.frame(2, 32, 32), theirs.frame(2, 32, 32))


def test_divergence_is_told_in_the_same_words() -> None:
    messages = []
    with pair("cheetah-run") as envs:
        for env in envs:
            env.reset()
            snapshot = env.snapshot()
            snapshot["rows"]["1"]["integration"][12] = 1e9  # a velocity
            env.restore(snapshot)
            with pytest.raises(ObservationError, match=r"^cheetah-run: the simulation div") as told:
                env.step(np.zeros((3, 6), np.float32))
            messages.append(str(told.value))
    assert messages[0] == messages[1]


def test_step_before_reset_is_refused() -> None:
    with (
        VectorEnv("cheetah-run", 2, seed=0, batched=True) as env,
        pytest.raises(TaskError, match=r"^cheetah-run: expected reset\(\) before step\(\)"),
    ):
        env.step(np.zeros((2, 6), np.float32))


def test_batched_where_it_is_not_possible() -> None:
    heavier = Randomization(parameters=(ParameterRange(target="gravity", low=1, high=1),))
    for name, options in (
        ("dog-run", {}),
        ("walker-run", {"randomization": heavier}),
    ):
        with pytest.raises(ConfigError, match=r"^batched=True: expected a ported task"):
            VectorEnv(name, 2, seed=0, batched=True, **options)  # type: ignore[arg-type]
