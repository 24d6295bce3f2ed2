"""B environments behave as B environments, wherever they run."""

import logging
from pathlib import Path

import numpy as np
import pytest

from wmrobot.core.errors import ConfigError, ObservationError, TaskError
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Step
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.envs.registry import make_env
from wmrobot.envs.vector import VectorEnv

FIXTURES = Path(__file__).parent / "fixtures"
TINY = FIXTURES / "tiny.py"
QUBE = "qube2-swingup"


def play(env: VectorEnv, decisions: int, seed: int = 0) -> list[Step]:
    generator = np.random.default_rng(seed)
    shape = (env.num_envs, env.task_spec.action_dim)
    return [env.step(generator.uniform(-1, 1, shape).astype(np.float32)) for _ in range(decisions)]


def as_bytes(steps: list[Step]) -> list[bytes]:
    return [
        b"".join(
            array.tobytes()
            for array in (
                *step.obs.values(),
                *step.final_obs.values(),
                step.reward,
                step.terminated,
                step.truncated,
                step.success,
                step.success_told,
            )
        )
        for step in steps
    ]


def test_a_row_is_the_environment_of_its_seed() -> None:
    with VectorEnv("cartpole-swingup", 3, seed=9) as env:
        obs = env.reset()["state"]
        steps = play(env, 4)
    alone = make_env("cartpole-swingup", seed=derive_seed(9, "env/2"))
    assert np.array_equal(obs[2], alone.reset()["state"])
    generator = np.random.default_rng(0)
    for step in steps:
        action = generator.uniform(-1, 1, (3, 1)).astype(np.float32)[2]
        assert np.array_equal(step.obs["state"][2], alone.step(action)[0]["state"])
    assert not np.array_equal(obs[0], obs[1])
    alone.close()


def test_no_transition_across_a_restart() -> None:
    with VectorEnv(f"{TINY}:counter", 2, seed=0) as env:
        before = env.reset()["state"]
        actions = np.array([[1.0], [-1.0]], np.float32)  # adds 4 and 0
        for _ in range(3):
            step = env.step(actions)
        assert step.terminated.tolist() == [True, False]  # 12 > 10
        assert not step.truncated.any()
        assert step.final_obs["state"][0, 2] == 3.0  # the step counter of the old episode
        np.testing.assert_allclose(step.final_obs["state"][0, 0], before[0, 0] + 12, rtol=1e-6)
        assert step.obs["state"][0, 2] == 0.0  # and of the new one
        assert np.array_equal(step.obs["state"][1], step.final_obs["state"][1])
        step = env.step(actions)
        assert step.obs["state"][:, 2].tolist() == [1.0, 4.0]
        for _ in range(2):
            step = env.step(actions)
        assert step.terminated.tolist() == [True, False]
        assert step.truncated.tolist() == [False, True]  # row 1 after 6 steps
        assert step.ended.all()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same() -> None:
    results = []
    for workers in (0, 1, 2, 3):
        with VectorEnv(f"{TINY}:cart", 3, seed=4, workers=workers) as env:
            first = env.reset()["state"].tobytes()
            results.append([first, *as_bytes(play(env, 12))])
    assert results[1:] == results[:1] * 3


@pytest.mark.slow
def test_goes_back_with_another_number_of_workers(tmp_path: Path) -> None:
    with VectorEnv("reacher-easy", 3, seed=4, workers=2, obs="state") as env:
        env.reset()
        last = play(env, 5)[-1]
        save_tree(tmp_path, "envs", env.snapshot())
        expected = as_bytes(play(env, 5, seed=1))
    with VectorEnv("reacher-easy", 3, seed=4) as env:
        env.reset()
        play(env, 2, seed=2)
        obs = env.restore(load_tree(tmp_path, "envs"))
        assert np.array_equal(obs["state"], last.obs["state"])
        assert as_bytes(play(env, 5, seed=1)) == expected


def test_row_that_cannot_go_back_starts_anew_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with VectorEnv(f"{TINY}:counter", 2, seed=0) as env:
        env.reset()
        play(env, 2)
        snapshot = env.snapshot()
        assert snapshot["rows"] == {"0": None, "1": None}
        with caplog.at_level(logging.WARNING):
            obs = env.restore(snapshot)
        assert obs["state"][:, 2].tolist() == [0.0, 0.0]
        assert len(caplog.messages) == 2
        assert caplog.messages[1].endswith(
            "environment 1 cannot tell its state: its episode starts anew"
        )


def test_row_that_cannot_go_back_does_not_repeat_its_first_starts() -> None:
    def starts_after(decisions: int) -> np.ndarray:
        with VectorEnv("gym:Pendulum-v1", 2, seed=0) as env:
            first = env.reset()["state"].copy()
            play(env, decisions)
            snapshot = env.snapshot()
        with VectorEnv("gym:Pendulum-v1", 2, seed=0) as env:
            return np.stack([first, env.restore(snapshot)["state"]])

    early, again, late = starts_after(3), starts_after(3), starts_after(5)
    assert np.array_equal(early, again)
    starts = np.concatenate([early[0], early[1], late[1]])
    assert len(np.unique(starts, axis=0)) == 6  # of two rows: at first, after 3, after 5


@pytest.mark.parametrize(
    ("name", "tells"), [("gym:Pendulum-v1", False), ("pendulum-swingup", False), (QUBE, True)]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_whether_a_task_tells_success(name: str, tells: bool, workers: int) -> None:
    with VectorEnv(name, 2, seed=0, workers=workers) as env:
        env.reset()
        assert play(env, 1)[0].success_told.tolist() == [tells, tells]


def test_snapshot_before_the_first_reset() -> None:
    with VectorEnv("cartpole-balance", 2, seed=0) as env:
        snapshot = env.snapshot()
        first = env.reset()["state"]
    with VectorEnv("cartpole-balance", 2, seed=0) as env:
        assert np.array_equal(env.restore(snapshot)["state"], first)


def test_snapshot_is_not_touched_by_what_follows() -> None:
    with VectorEnv("cartpole-balance", 1, seed=0) as env:
        env.reset()["state"][:] = 7.0  # the caller's own array
        snapshot = env.snapshot()
        state = snapshot["rows"]["0"]["task"]["_random"]["@stream"]["state"]["key"].copy()
        assert not (snapshot["obs"]["state"] == 7.0).any()
        play(env, 3)
        env.reset()
        assert np.array_equal(
            snapshot["rows"]["0"]["task"]["_random"]["@stream"]["state"]["key"], state
        )


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 1), np.float32), r"expected \(2, 1\) float32, got \(3, 1\) float32"),
        (np.zeros((2, 1), np.int64), r"expected \(2, 1\) float32, got \(2, 1\) int64"),
        (np.array([[0.0], [np.nan]], np.float32), r"expected finite values, got \[nan\] in row 1"),
    ],
)
def test_bad_actions_are_refused(actions: np.ndarray, message: str) -> None:
    with VectorEnv(f"{TINY}:counter", 2, seed=0) as env:
        env.reset()
        with pytest.raises(ObservationError, match=f"^actions: {message}$"):
            env.step(actions)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0 and 0"):
        VectorEnv("walker-run", 0, seed=0)


@pytest.mark.slow
def test_dead_worker_is_named() -> None:
    with VectorEnv(f"{TINY}:dies", 4, seed=0, workers=2) as env:
        env.reset()
        with pytest.raises(TaskError, match=r"environments 0 to 1 died \(exit code 7\)"):
            env.step(np.zeros((4, 1), np.float32))


@pytest.mark.slow
def test_rows_step_while_the_caller_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    actions, sign = np.zeros((2, 1), np.float32), tmp_path / "sign"
    monkeypatch.setenv("WAIT_FOR", str(sign))
    with VectorEnv(f"{TINY}:waits", 2, seed=0, workers=2) as env:
        env.reset()
        env.step_async(actions)
        sign.touch()  # what they wait for
        assert env.step_wait().obs["state"].shape[0] == 2
        env.step_async(actions)
    assert capfd.readouterr().err == ""  # that nobody waits for the last one is no error


def test_rows_that_observe_different_numbers_are_refused() -> None:
    task = f"{TINY.parent / 'senses.py'}:longer_with_its_seed"
    sizes = {make_env(task, seed=seed).task_spec.obs_shapes["state"] for seed in range(9)}
    assert sizes == {(1,), (2,)}
    with (
        VectorEnv(task, 9, seed=0) as env,
        pytest.raises(ObservationError, match=r"got state \(1,\), state \(2,\); the task has to"),
    ):
        env.reset()


@pytest.mark.slow
def test_error_in_a_worker_is_the_users_error() -> None:
    with pytest.raises(TaskError, match=r"ValueError: .*bodi"):
        VectorEnv(f"{TINY}:malformed", 2, seed=0, workers=2)
    with VectorEnv(f"{TINY}:not_finite", 2, seed=0, workers=2) as env:
        env.reset()
        env.step(np.zeros((2, 1), np.float32))
        with pytest.raises(ObservationError, match="expected a finite float32"):
            env.step(np.zeros((2, 1), np.float32))


@pytest.mark.slow
def test_pictures_come_from_the_right_row() -> None:
    with VectorEnv("reacher-easy", 3, seed=0, workers=2, obs="rgb") as env:
        obs = env.reset()["rgb"]
        frames = [env.frame(row, 64, 64) for row in range(3)]
        assert obs.shape == (3, 3, 64, 64)
        for row in range(3):
            errors = [
                np.abs(frame.transpose(2, 0, 1).astype(float) - obs[row]).mean() for frame in frames
            ]
            assert int(np.argmin(errors)) == row
