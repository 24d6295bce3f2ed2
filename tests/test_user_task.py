"""A user's own file: any dm_env or Gymnasium environment, and all that can be wrong with it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from wmrobot.core.errors import ConfigError, ObservationError, TaskError
from wmrobot.envs.from_gymnasium import GymnasiumTask
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import TaskEnv, TaskInfo
from wmrobot.envs.user_file import held_tasks

TINY = Path(__file__).parent / "fixtures" / "tiny.py"
SENSES = TINY.with_name("senses.py")


def test_flat_observation_and_scaled_action() -> None:
    env = make_env(f"{TINY}:counter", seed=0)
    assert env.task_spec.obs_names == ("b[0,0]", "b[0,1]", "a/0")
    assert env.task_spec.episodic
    assert env.physics is None
    start = env.reset()["state"]
    assert start.dtype == np.float32
    obs, reward, *_ = env.step(np.array([0.5], np.float32))  # 0.5 of -1..1 is 3 of 0..4
    assert reward == 3.0
    np.testing.assert_allclose(obs["state"], [start[0] + 3, start[0] + 3, 1.0], rtol=1e-6)
    assert env.step(np.array([7.0], np.float32))[1] == 4.0  # clipped


def test_end_by_termination_and_by_truncation() -> None:
    env = make_env(f"{TINY}:counter", seed=0)
    env.reset()
    ends = [env.step(np.ones(1, np.float32))[2:4] for _ in range(3)]  # 4, 8, 12
    assert ends == [(False, False), (False, False), (True, False)]
    with pytest.raises(TaskError, match=r"expected reset\(\) before step\(\)"):
        env.step(np.ones(1, np.float32))
    env.reset()
    ends = [env.step(-np.ones(1, np.float32))[2:4] for _ in range(6)]
    assert ends == [(False, False)] * 5 + [(False, True)]


def test_repeated_action_stops_at_the_end() -> None:
    env = make_env(f"{TINY}:counter_twice", seed=0)
    env.reset()
    assert env.step(np.ones(1, np.float32))[1:4] == (8.0, False, False)
    assert env.step(np.ones(1, np.float32))[1:4] == (4.0, True, False)  # not 8


def test_declared_length_truncates() -> None:
    env = make_env(f"{TINY}:counter_short", seed=0)
    env.reset()
    assert [env.step(-np.ones(1, np.float32))[3] for _ in range(3)] == [False, False, True]


def test_seed_of_an_environment_without_a_known_stream() -> None:
    env = make_env(f"{TINY}:counter", seed=4)
    first = env.reset()["state"]
    assert not np.array_equal(first, env.reset()["state"])
    assert np.array_equal(first, env.reset(seed=4)["state"])


def test_every_plain_attribute_comes_back() -> None:
    env, twin = (make_env(f"{TINY}:cart", seed=1) for _ in range(2))
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 1))
    env.reset()
    env.step(actions[0])
    snapshot = env.snapshot()
    assert snapshot is not None

    def future(env: TaskEnv) -> list[bytes]:
        out = []
        for action in actions[1:]:
            obs, reward, _, truncated, info = env.step(action)
            out.append(obs["state"].tobytes() + np.float64(reward).tobytes() + bytes(info.values()))
            if truncated:
                out.append(env.reset()["state"].tobytes())
        return out

    expected = future(env)
    assert len(expected) == 9  # an end lies within
    for each in (env, twin):
        each.restore(snapshot)
        assert future(each) == expected


def test_opaque_state_is_not_told() -> None:
    env = make_env(f"{TINY}:opaque", seed=0)
    env.reset()
    assert env.snapshot() is None


def test_success_is_told() -> None:
    env = make_env(f"{TINY}:cart", seed=1)
    obs = env.reset()["state"]
    info = env.step(np.zeros(1, np.float32))[4]
    assert info == {"success": bool(obs[0] > 0)}


def test_relative_path_starts_at_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TINY.parent)
    assert make_env("tiny.py:counter", seed=0).task_spec.name == f"{TINY}:counter"


def test_gymnasium_environment_of_a_file() -> None:
    env = make_env(f"{TINY}:reach", seed=2, obs="state+rgb", image_size=2)
    assert env.task_spec.obs_names == ("a", "b[0]", "b[1]")
    assert env.task_spec.control_dt == pytest.approx(0.1)
    start = env.reset()
    assert start["rgb"].tolist() == [[[0, 200]] * 2, [[0, 100]] * 2, [[0, 50]] * 2]
    first = start["state"]
    assert not np.array_equal(first, env.reset()["state"])
    assert np.array_equal(first, env.reset(seed=2)["state"])
    outcomes = [env.step(np.ones(1, np.float32))[1:] for _ in range(3)]
    assert outcomes[0] == (4.0, False, False, {"success": False})
    assert outcomes[2] == (4.0, True, False, {"success": True})
    assert env.snapshot() is None


def test_gymnasium_id_keeps_its_time_limit() -> None:
    env = make_env("gym:Pendulum-v1", seed=0)
    assert (env.task_spec.episode_decisions, env.task_spec.control_dt) == (200, 0.05)
    env.reset()
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]
    env.close()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("malformed", r"ValueError: .*bodi.* \(line \d+\)$"),
        ("nothing", r"expected the function to return a dm_env.Environment .* got NoneType$"),
        ("unlimited", r"expected finite action bounds, .*ctrlrange and ctrllimited; Gym"),
        ("countr", r"no function named 'countr'. Did you mean 'counter'\? Known: .*waits$"),
    ],
)
def test_task_that_cannot_be_built(function: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        make_env(f"{TINY}:{function}", seed=0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(TINY))


def test_file_that_cannot_be_used(tmp_path: Path) -> None:
    missing, broken, empty = (tmp_path / name for name in ("missing.py", "broken.py", "empty.py"))
    broken.write_text("import math\nimport not_installed_anywhere\n")
    empty.write_text("")
    cases = {
        f"{missing}:a": f"{missing}: expected a Python file with a task function, "
        "found no such file",
        f"{broken}:a": f"{broken}: cannot be imported: ModuleNotFoundError: "
        "No module named 'not_installed_anywhere' (line 2)",
        f"{empty}:a": f"{empty}: no function named 'a'. Known: ",
        f"{empty}": f"{empty}: expected a task function, found none; "
        "define one that takes a seed and returns an environment",
        f"{missing}": f"{missing}: expected a Python file with a task function, found no such file",
        f"{TINY}": f"{TINY}: expected path/to/file.py:name, got no function's name; "
        "it holds counter, counter_twice, counter_short, cart, opaque: "
        f"write {TINY}:counter",
    }
    for name, message in cases.items():
        with pytest.raises(TaskError) as caught:
            make_env(name, seed=0)
        assert str(caught.value) == message
    broken.write_text("def a(:\n")
    for name in (f"{broken}:a", f"{broken}", f"{broken}:"):
        with pytest.raises(TaskError, match="cannot be imported: SyntaxError: "):
            make_env(name, seed=0)


def test_file_holds_its_marked_functions_else_those_that_take_a_seed(tmp_path: Path) -> None:
    file = tmp_path / "robot.py"
    plain = "def angle(x): ...\ndef a(seed): ...\ndef b(_seed=0): ...\ndef _c(seed): ...\n"
    file.write_text(plain)
    assert held_tasks(file) == ("a", "b")
    for number, decorator in enumerate(("task", "task()", "wm.task(episodic=False)")):
        file.write_text(f"{plain}@{decorator}\ndef d{number}(number): ...\n")
        assert held_tasks(file) == (f"d{number}",)


def test_file_is_read_again_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "robot.py"
    file.write_text("def a(seed):\n    raise ValueError('first')\n")
    with pytest.raises(TaskError, match="first"):
        make_env(f"{file}:a", seed=0)
    file.write_text("def a(seed):\n    raise ValueError('the second')\n")
    with pytest.raises(TaskError, match="the second"):
        make_env(f"{file}:a", seed=0)


def test_bad_observations_are_refused_by_name() -> None:
    for function, message in {
        "not_finite": r"observation 'b\[0,1\]': expected a finite float32, got nan$",
        "growing": r"observation 'b': expected shape \(1, 2\), got \(1, 3\)$",
    }.items():
        env = make_env(f"{TINY}:{function}", seed=0)
        env.reset()
        env.step(np.zeros(1, np.float32))
        with pytest.raises(ObservationError, match=message):
            env.step(np.zeros(1, np.float32))


@pytest.mark.parametrize("action", [[np.nan], [np.inf], [0.0, 0.0], 0.0])
def test_bad_actions_are_refused(action: object) -> None:
    env = make_env(f"{TINY}:counter", seed=0)
    env.reset()
    with pytest.raises(ObservationError, match="expected a"):
        env.step(np.array(action, dtype=np.float32))


def test_gymnasium_spaces_that_do_not_fit() -> None:
    with pytest.raises(TaskError, match=r"^gym:CartPole-v1: expected Box actions .* Discrete\(2\)"):
        make_env("gym:CartPole-v1", seed=0)
    with pytest.raises(TaskError, match=r"^gym:NoSuch-v0: "):
        make_env("gym:NoSuch-v0", seed=0)


class Old(gymnasium.Env[np.ndarray, np.ndarray]):
    """Of Gymnasium by its class, of the Gym before it by what it returns."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, *, resets_so: bool = True) -> None:
        self.resets_so = resets_so

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32) if self.resets_so else (np.zeros(2, np.float32), {})

    def step(self, action: np.ndarray) -> Any:
        return np.zeros(2, np.float32), 0.0, False, {}


def test_what_is_of_the_older_gym_is_told_so() -> None:
    with pytest.raises(TaskError, match=r"^old: expected reset\(\) to return \(observation, i"):
        GymnasiumTask(Old(), "old", TaskInfo(), seed=0).reset()
    env = GymnasiumTask(Old(resets_so=False), "old", TaskInfo(), seed=0)
    env.reset()
    with pytest.raises(TaskError, match=r"step\(\) to return .*, got 4 values; .* shimmy's Gym"):
        env.step(np.zeros(1, np.float32))


def test_parts_of_an_action_are_told_apart_from_discrete_ones() -> None:
    env = Old()
    env.action_space = spaces.Dict({"arm": Old.action_space})
    with pytest.raises(TaskError, match=r"got Dict\(.*; make one Box of its parts, with gym"):
        GymnasiumTask(env, "parts", TaskInfo(), seed=0)


def test_an_entry_that_is_no_box_is_named() -> None:
    env = Old()
    inner = spaces.Dict({"mode": spaces.Discrete(3)})
    env.observation_space = spaces.Dict({"joints": Old.observation_space, "arm": inner})
    with pytest.raises(TaskError, match=r"got Discrete\(3\) as 'arm/mode'; gymnasium.wrappers.F"):
        GymnasiumTask(env, "parts", TaskInfo(), seed=0)


def test_pictures_are_no_state() -> None:
    env = make_env(f"{SENSES}:sees_and_feels", seed=0)
    assert env.task_spec.obs_names == ("joint",)
    assert env.reset()["state"].shape == env.step(np.zeros(1, np.float32))[0]["state"].shape == (1,)


def test_what_sees_alone_is_learned_from_pictures() -> None:
    env = make_env(f"{SENSES}:sees", seed=0, obs="rgb", image_size=16)
    assert env.task_spec.obs_shapes == {"rgb": (3, 16, 16)}
    first, second = env.reset()["rgb"], env.step(np.ones(1, np.float32))[0]["rgb"]
    assert (first == 0).all()
    assert (second == 10).all()
    for obs in ("state", "state+rgb"):
        with pytest.raises(TaskError, match=r":sees: expected at least one observed number, got n"):
            make_env(f"{SENSES}:sees", seed=0, obs=obs)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("a_list", r"dict of arrays from the task's get_observation, got list$"),
        ("a_float", r"get_observation, got float as 'height'; np.array\(...\) makes an"),
        ("a_text", r"get_observation, got str as 'height'"),
        ("misspelt", r"AttributeError: .*'qpso'.* \(line \d+\)$"),
        ("told_as_text", r"observation 'observation': expected an array of numbers, got str$"),
    ],
)
def test_observations_that_are_no_numbers(function: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        make_env(f"{SENSES}:{function}", seed=0)
    assert str(caught.value).startswith(f"{SENSES}:{function}: ")


def test_camera_that_there_is_not_is_told_before_there_are_pictures() -> None:
    with pytest.raises(TaskError, match="camera 'top': the model has no cameras"):
        make_env(f"{SENSES}:filmed", seed=0)


def test_error_in_a_users_step_is_one_line() -> None:
    env = make_env(f"{TINY}:raises", seed=0)
    env.reset()
    with pytest.raises(TaskError, match=r"tiny.py:raises: KeyError: 'missing' \(line \d+\)$"):
        env.step(np.zeros(1, np.float32))


def test_simulation_that_diverges_is_told() -> None:
    env = make_env(f"{TINY}:cart", seed=0)
    env.reset()
    env.physics.data.ptr.qvel[0] = np.inf  # type: ignore[union-attr]
    with pytest.raises(ObservationError, match="the simulation diverged: "):
        env.step(np.zeros(1, np.float32))


def test_cameras_of_a_task_that_draws_itself_are_refused() -> None:
    make_env(f"{TINY}:reach", seed=0, obs="rgb", cameras=[0]).close()
    with pytest.raises(ConfigError, match=r"expected none for .*:reach, .* got \['side'\]"):
        make_env(f"{TINY}:reach", seed=0, obs="rgb", cameras=["side"])


def test_no_decisions_are_no_episode() -> None:
    with pytest.raises(ConfigError, match=r"episode_decisions >= 1 and a camera, got 1, 0 and"):
        TaskInfo(episode_decisions=0)
    with pytest.raises(ConfigError, match=r"got 'front'; did you mean \('front',\)\?"):
        TaskInfo(cameras="front")  # type: ignore[arg-type]


def test_modalities_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match=r"expected one of state, rgb, state\+rgb, got pixels"):
        make_env(f"{TINY}:counter", seed=0, obs="pixels")  # type: ignore[arg-type]
