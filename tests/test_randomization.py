import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import FloatArray, Obs, TaskSpec
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.envs.randomization import RandomizedEnv, randomize
from wmrobot.envs.registry import make_env, task_info
from wmrobot.envs.task import ParameterRange, Randomization


class CountingEnv:
    """Tells the number of decisions since reset, and the action that acted last."""

    def __init__(self) -> None:
        self.physics: Any | None = None
        self.parameters = {"gain": 2.0, "friction": 1.0}
        self.seen_at_reset: list[float] = []
        self._decisions = 0
        self.task_spec = TaskSpec(
            name="counting",
            obs_shapes={"state": (2,)},
            action_dim=1,
            control_dt=0.1,
            action_repeat=1,
            episode_decisions=10,
            episodic=False,
            obs_names=("decisions", "acted"),
            action_names=("motor",),
        )

    def set_parameters(self, values: Mapping[str, float]) -> None:
        self.parameters.update(values)

    def reset(self, seed: int | None = None) -> Obs:
        self._decisions = 0
        self.seen_at_reset.append(self.parameters["gain"])
        return {"state": np.zeros(2, dtype=np.float32)}

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        self._decisions += 1
        state = np.array([self._decisions, action[0]], dtype=np.float32)
        return {"state": state}, float(action[0]), False, False, {}

    def snapshot(self) -> dict[str, Any] | None:
        return {"decisions": self._decisions}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self._decisions = snapshot["decisions"]

    def frame(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        return np.zeros((height, width, 3), dtype=np.uint8)

    def close(self) -> None:
        pass


def wrap(seed: int = 0, **changes: Any) -> RandomizedEnv:
    env = randomize(CountingEnv(), Randomization(**changes), seed)
    assert isinstance(env, RandomizedEnv)
    return env


def acted(env: RandomizedEnv, num: int) -> list[float]:
    """Which command acted at each decision: 0 for none, 1 for the first."""
    env.reset()
    commands = np.arange(1, num + 1, dtype=np.float32)[:, None] / 1024
    return [1024 * env.step(command)[1] for command in commands]


def scaled(target: str, low: float = 0.9, high: float = 1.1) -> ParameterRange:
    return ParameterRange(target=target, low=low, high=high, scale=True)


def test_nothing_on_returns_the_environment_itself() -> None:
    env = CountingEnv()
    assert randomize(env, Randomization(), seed=0) is env


def test_fixed_delay_shifts_the_commands() -> None:
    assert acted(wrap(action_delay=(2, 2)), 6) == [0, 0, 1, 2, 3, 4]
    assert acted(wrap(action_delay=(0, 0), previous_actions=1), 3) == [1, 2, 3]


def test_jittered_delay_stays_in_range_and_never_goes_back() -> None:
    order = acted(wrap(action_delay=(1, 3)), 300)
    lags = np.arange(1, 301) - np.array(order)
    assert set(lags[5:]) == {1, 2, 3}
    assert (np.diff(order) >= 0).all()


@pytest.mark.parametrize("action", [[math.nan], [0.0, 0.0], 0.0])
def test_a_bad_command_is_refused_before_it_waits(action: Any) -> None:
    env = wrap(action_delay=(2, 2))
    env.reset()
    with pytest.raises(
        ObservationError, match=r"counting: expected a finite action of shape \(1,\)"
    ):
        env.step(np.array(action, dtype=np.float32))


def test_commands_are_told_as_they_act() -> None:
    env = wrap(previous_actions=1)
    env.reset()
    obs, *_ = env.step(np.array([3.0], dtype=np.float32))
    np.testing.assert_array_equal(obs["state"], np.array([1, 1, 1], dtype=np.float32))


def test_snapshot_before_the_first_reset_goes_back() -> None:
    env = wrap(parameters=(scaled("gain"),))
    saved = env.snapshot()
    assert saved is not None
    env.reset()
    first = dict(env.drawn)
    env.restore(saved)
    env.reset()
    assert env.drawn == first


def test_history_and_previous_actions_stack_newest_last() -> None:
    env = wrap(obs_history=2, previous_actions=2)
    np.testing.assert_array_equal(env.reset()["state"], [0, 0, 0, 0, 0, 0])
    env.step(np.array([0.5], dtype=np.float32))
    obs, *_ = env.step(np.array([0.7], dtype=np.float32))
    expected = np.array([1, 0.5, 2, 0.7, 0.5, 0.7], dtype=np.float32)
    np.testing.assert_array_equal(obs["state"], expected)
    assert obs["state"].dtype == np.float32
    assert env.task_spec.obs_shapes == {"state": (6,)}
    assert env.task_spec.obs_names == (
        "decisions[-1]",
        "acted[-1]",
        "decisions",
        "acted",
        "motor[-2]",
        "motor[-1]",
    )


def test_previous_actions_are_commands_though_they_have_not_acted_yet() -> None:
    env = wrap(action_delay=(1, 1), previous_actions=1)
    env.reset()
    obs, *_ = env.step(np.array([0.5], dtype=np.float32))
    np.testing.assert_array_equal(obs["state"], np.array([1, 0, 0.5], dtype=np.float32))


def test_first_observation_repeats_in_the_history() -> None:
    env = wrap(obs_history=3, obs_noise_std=1.0)
    rows = env.reset()["state"].reshape(3, 2)
    np.testing.assert_array_equal(rows[0], rows[2])


def test_noise_has_its_standard_deviation_and_spares_commands() -> None:
    env = wrap(obs_noise_std=0.3, previous_actions=1)
    env.reset()
    idle = np.zeros(1, dtype=np.float32)
    states = np.array([env.step(idle)[0]["state"] for _ in range(4000)])
    noise = states - np.stack([np.arange(1, 4001), np.zeros(4000), np.zeros(4000)], axis=1)
    np.testing.assert_allclose(noise[:, :2].std(axis=0), 0.3, rtol=0.05)
    np.testing.assert_allclose(noise[:, :2].mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_array_equal(noise[:, 2], 0.0)


def test_parameters_of_the_task_are_drawn_before_the_inner_reset() -> None:
    inner = CountingEnv()
    friction = ParameterRange(target="friction", low=1e-6, high=1e-3, log=True)
    ranges = (scaled("gain", 0.5, 1.5), friction)
    env = RandomizedEnv(inner, Randomization(parameters=ranges), seed=0)
    drawn = []
    for _ in range(500):
        env.reset()
        drawn.append([inner.parameters["gain"], inner.parameters["friction"]])
        assert inner.seen_at_reset[-1] == 2.0 * env.drawn["gain"]
    gains, frictions = np.array(drawn).T
    assert 1.0 <= gains.min() < 1.02 < 2.98 < gains.max() <= 3.0
    assert frictions.min() >= 1e-6
    assert frictions.max() <= 1e-3
    assert np.median(frictions) == pytest.approx(math.sqrt(1e-6 * 1e-3), rel=0.3)  # log-uniform


def test_seeds_repeat_and_differ() -> None:
    def run(seed: int, reset_seed: int | None = None) -> list[float]:
        env = wrap(seed, obs_noise_std=1.0, parameters=(scaled("gain"),))
        first = env.reset(reset_seed)["state"].tolist()
        return [*first, env.drawn["gain"]]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1, reset_seed=5) == run(2, reset_seed=5)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "gian",
            r"counting: no parameter named 'gian'. Did you mean 'gain'\? Known: friction, gain",
        ),
        ("body_mass[arm]", r"body_mass\[arm\]: expected a task of MuJoCo, got counting"),
    ],
)
def test_unknown_targets_are_refused(target: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        wrap(parameters=(scaled(target),))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("body_mas[arm]", r"no mjModel field named 'body_mas'. Did you mean 'body_mass'\?"),
        (
            "body_mass[amr]",
            r"no object in body_mass named 'amr'. Did you mean 'arm'\? Known: arm, b",
        ),
        (
            "motor_resistanc",
            r"no parameter named 'motor_resistanc'. Did you mean 'motor_resistance",
        ),
    ],
)
def test_unknown_targets_of_a_real_task_are_refused(target: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        make_env("qube2-swingup", seed=0, randomization=Randomization(parameters=(scaled(target),)))


def test_a_target_named_twice_is_refused() -> None:
    with pytest.raises(TaskError, match="expected each target once, got gain twice"):
        wrap(parameters=(scaled("gain"), scaled("gain")))


@pytest.fixture
def robust() -> Iterator[Any]:
    env = make_env("qube2-swingup-robust", seed=3)
    yield env
    env.close()


def test_robust_qube_redraws_everything_within_its_ranges(robust: Any) -> None:
    model = robust.physics.model.ptr
    seen = []
    for _ in range(100):
        robust.reset()
        arm, pole = model.body("arm"), model.body("pole")
        assert arm.mass[0] == pytest.approx(0.095 * robust.drawn["body_mass[arm]"])
        assert pole.mass[0] == pytest.approx(0.024 * robust.drawn["body_mass[pole]"])
        # A heavier rod of the same shape: its inertia and all that MuJoCo derives follow.
        assert pole.inertia[0] == pytest.approx(pole.mass[0] * 0.129**2 / 12, rel=1e-6)
        assert arm.subtreemass[0] == pytest.approx(arm.mass[0] + pole.mass[0])
        seen.append(list(robust.drawn.values()))
    assert len(np.unique(np.array(seen), axis=0)) == 100
    low, high = np.min(seen, axis=0), np.max(seen, axis=0)
    ranges = task_info("qube2-swingup-robust").randomization.parameters
    assert [r.target for r in ranges] == list(robust.drawn)
    for k, each in enumerate(ranges):
        assert each.low <= low[k] < high[k] <= each.high


def test_robust_qube_starts_from_what_was_drawn(robust: Any) -> None:
    count = 2 * math.pi / 2048
    for _ in range(10):
        obs = robust.reset()["state"]
        offset = robust.drawn["arm_encoder_offset"]
        assert abs(obs[4] - robust.physics.data.qpos[0] - offset) <= count / 2 + 1e-6


def test_pictures_do_not_change_with_masses(robust: Any) -> None:
    statistics = robust.physics.model.ptr.stat
    before = (statistics.extent, *statistics.center)
    robust.reset()
    assert (statistics.extent, *statistics.center) == before


@pytest.mark.parametrize("name", ["qube2-swingup", "qube2-swingup-robust"])
def test_restored_snapshot_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    env = make_env(name, seed=1)
    env.reset()
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, size=(400, 1)).astype(np.float32)

    def drive(env: Any, actions: FloatArray) -> list[Any]:
        seen: list[Any] = []
        for action in actions:
            obs, reward, terminated, truncated, info = env.step(action)
            seen.append([*obs["state"].tolist(), reward, terminated, truncated, info["success"]])
            if terminated or truncated:
                seen.append(env.reset()["state"].tolist())
        return seen

    drive(env, actions[:37])
    saved = env.snapshot()
    assert saved is not None
    save_tree(tmp_path, "env", saved)
    first = drive(env, actions[37:])  # across resets, so that the random streams count
    env.restore(saved)
    assert drive(env, actions[37:]) == first
    another = make_env(name, seed=99)  # a new process would build it anew and read the file
    another.reset()
    another.restore(load_tree(tmp_path, "env"))
    assert drive(another, actions[37:]) == first
