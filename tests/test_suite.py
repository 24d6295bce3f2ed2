"""Suite tasks are what the published curves used, and can go back in time exactly."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmrobot.core.trees import load_tree, save_tree
from wmrobot.envs.registry import make_env, task_names
from wmrobot.envs.suite import suite_names
from wmrobot.envs.task import TaskEnv

FAST_PARITY = ("cartpole-swingup", "quadruped-walk", "reacher-easy")
ALL_PARITY = (
    "acrobot-swingup",
    "cheetah-run",
    "cup-catch",
    "finger-turn-hard",
    "fish-swim",
    "hopper-hop",
    "humanoid-walk",
    "manipulator-bring-ball",
    "pendulum-swingup",
    "pointmass-hard",
    "quadruped-run",
    "reacher-hard",
    "walker-run",
)
FAST_SNAPSHOT = ("reacher-hard", "finger-turn-easy", "pointmass-hard", "cheetah-run", "fish-swim")
SUITE = suite_names()


def slow(names: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def play(env: TaskEnv, actions: np.ndarray) -> list[tuple[Any, ...]]:
    """All that comes out, as bytes."""
    out = []
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        out.append((obs["state"].tobytes(), reward, terminated, truncated))
        if terminated or truncated:
            out.append((env.reset()["state"].tobytes(),))
    return out


def check_parity(name: str, episodes: int, decisions: int) -> None:
    """Ours against dm_control driven by hand, bit for bit."""
    from dm_control import suite

    domain, task = SUITE[name]
    theirs = suite.load(domain, task, task_kwargs={"random": 7})
    ours = make_env(name, seed=7)
    spec = theirs.action_spec()
    half, middle = (spec.maximum - spec.minimum) / 2, (spec.maximum + spec.minimum) / 2
    generator = np.random.default_rng(1)
    for _ in range(episodes):
        theirs_step, obs = theirs.reset(), ours.reset()
        for decision in range(decisions):
            flat = np.concatenate([np.ravel(v) for v in theirs_step.observation.values()])
            assert np.array_equal(obs["state"], flat.astype(np.float32))
            action = generator.uniform(-1.2, 1.2, spec.shape).astype(np.float32)
            scaled = middle + half * np.clip(action.astype(np.float64), -1, 1)
            reward = theirs.step(scaled).reward
            theirs_step = theirs.step(scaled)
            obs, our_reward, terminated, truncated, _ = ours.step(action)
            assert our_reward == reward + theirs_step.reward
            assert truncated == theirs_step.last() == (decision == 499)
            assert not terminated
    ours.close()


@pytest.mark.parametrize("name", FAST_PARITY)
def test_parity_of_a_short_episode(name: str) -> None:
    check_parity(name, episodes=1, decisions=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_PARITY)
def test_parity_of_three_episodes(name: str) -> None:
    check_parity(name, episodes=3, decisions=500)


@pytest.mark.parametrize(
    "name", [*FAST_SNAPSHOT, *slow(sorted(set(task_names()) - {*FAST_SNAPSHOT}))]
)
def test_continues_bit_for_bit(name: str) -> None:
    """Right after a reset, in the middle, in the same environment and in another one."""
    first, second = make_env(name, seed=3), make_env(name, seed=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (12, first.task_spec.action_dim))
    for warm_up in (0, 3):
        first.reset()
        second.reset()  # it has a past of its own
        play(first, actions[:warm_up])
        play(second, actions[: 2 * warm_up + 1])
        snapshot = first.snapshot()
        assert snapshot is not None

        def future(env: TaskEnv) -> list[Any]:
            here = play(env, actions[4:8])
            then = [(env.reset()["state"].tobytes(),)]  # the random stream goes on alike
            return here + then + play(env, actions[8:])

        expected = future(first)
        first.restore(snapshot)
        assert future(first) == expected
        second.restore(snapshot)
        assert future(second) == expected
    first.close()
    second.close()


def test_snapshot_of_a_reset_model_goes_back_to_the_old_target() -> None:
    env = make_env("reacher-hard", seed=0)
    env.reset()
    snapshot = env.snapshot()
    assert snapshot is not None
    assert "geom_pos" in snapshot["model"]
    before = env.physics.model.ptr.geom_pos.copy()  # type: ignore[union-attr]
    env.reset()
    assert not np.array_equal(before, env.physics.model.ptr.geom_pos)  # type: ignore[union-attr]
    env.restore(snapshot)
    assert np.array_equal(before, env.physics.model.ptr.geom_pos)  # type: ignore[union-attr]
    env.close()


RESUMED = ("finger-turn-hard", "humanoid-run", "quadruped-escape", "qube2-swingup-robust")
RESUME = """
import sys, numpy as np
from pathlib import Path
from wmrobot.core.trees import load_tree
from wmrobot.envs.registry import make_env
for name in sys.argv[2:]:
    env = make_env(name, seed=3)
    env.restore(load_tree(Path(sys.argv[1]), name))
    actions = np.random.default_rng(0).uniform(-1, 1, (4, env.task_spec.action_dim))
    states = [env.step(action)[0]["state"] for action in actions] + [env.reset()["state"]]
    np.save(Path(sys.argv[1]) / f"{name}.npy", np.stack(states))
    env.close()
"""


@pytest.mark.slow
def test_continues_from_disk_in_a_fresh_process(tmp_path: Path) -> None:
    expected = {}
    for name in RESUMED:
        env = make_env(name, seed=3)
        env.reset()
        actions = np.random.default_rng(0).uniform(-1, 1, (4, env.task_spec.action_dim))
        env.step(-actions[0])
        snapshot = env.snapshot()
        assert snapshot is not None
        save_tree(tmp_path, name, snapshot)
        assert load_tree(tmp_path, name).keys() == snapshot.keys()
        states = [env.step(action)[0]["state"] for action in actions] + [env.reset()["state"]]
        expected[name] = np.stack(states)
        env.close()
    subprocess.run([sys.executable, "-c", RESUME, str(tmp_path), *RESUMED], check=True)
    for name in RESUMED:
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), expected[name]), name


def test_seed_starts_the_stream_anew() -> None:
    env, other = make_env("cartpole-swingup", seed=5), make_env("cartpole-swingup", seed=6)
    first = env.reset()["state"]
    assert not np.array_equal(first, env.reset()["state"])
    assert np.array_equal(first, env.reset(seed=5)["state"])
    assert not np.array_equal(first, other.reset()["state"])
    env.close()
    other.close()


def test_lqr_terminates_and_takes_bounded_actions() -> None:
    env = make_env("lqr-lqr-2-1", seed=0)
    assert env.task_spec.episodic
    assert env.task_spec.episode_decisions == 500
    env.reset()
    env.physics.data.ptr.qpos[:] = 0.0  # type: ignore[union-attr]
    env.physics.data.ptr.qvel[:] = 0.0  # type: ignore[union-attr]
    env.physics.forward()  # type: ignore[union-attr]
    _, _, terminated, truncated, _ = env.step(np.zeros(1, np.float32))
    assert (terminated, truncated) == (True, False)
    env.close()


def test_facts_of_a_task() -> None:
    env = make_env("cup-catch", seed=0)
    spec = env.task_spec
    assert spec.name == "cup-catch"
    assert spec.obs_shapes == {"state": (8,)}
    assert (spec.action_dim, spec.action_names) == (2, ("x", "z"))
    assert spec.control_dt == pytest.approx(0.04)
    assert (spec.action_repeat, spec.episode_decisions, spec.episodic) == (2, 500, False)
    assert spec.obs_names[:2] == ("position[0]", "position[1]")
    env.close()


def test_pixels_are_stacked_by_camera() -> None:
    env = make_env("cartpole-swingup", seed=0, obs="state+rgb", cameras=[0, "fixed"], image_size=32)
    assert env.task_spec.obs_shapes == {"state": (5,), "rgb": (6, 32, 32)}
    obs = env.reset()
    assert obs["rgb"].dtype == np.uint8
    assert obs["rgb"].std() > 5  # something is there
    assert obs["rgb"].shape == (6, 32, 32)
    assert np.array_equal(obs["rgb"][:3], obs["rgb"][3:])  # the first camera is the fixed one
    assert set(make_env("cartpole-swingup", seed=0, obs="rgb").reset()) == {"rgb"}
    env.close()
