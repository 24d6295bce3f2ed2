"""Everybody else's tools see ordinary Gymnasium environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import wmrobot.envs.ids as ids
from wmrobot.envs.registry import task_names


def test_every_listed_task_has_an_id() -> None:
    ids.register_ids()  # a second time does no harm
    registered = {name for name in gymnasium.registry if name.startswith("wmrobot/")}
    assert registered == {f"wmrobot/{name}-v0" for name in task_names()}


@pytest.mark.parametrize("obs", ["state", "rgb", "state+rgb"])
def test_passes_gymnasiums_checker(obs: str) -> None:
    """Warnings are errors here."""
    env = gymnasium.make("wmrobot/cartpole-swingup-v0", obs=obs, image_size=16)
    check_env(env.unwrapped)
    kind = gymnasium.spaces.Box if obs == "state" else gymnasium.spaces.Dict
    assert isinstance(env.observation_space, kind)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", task_names())
def test_every_task_passes_gymnasiums_checker(name: str) -> None:
    env = gymnasium.make(f"wmrobot/{name}-v0")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_module_prefix_needs_no_import() -> None:
    env = gymnasium.make("wmrobot.envs.ids:wmrobot/cartpole-swingup-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.shape == (240, 320, 3)
    assert env.metadata["render_fps"] == 50
    env.close()


@pytest.mark.parametrize(("name", "limit"), [("walker-run", 500), ("qube2-swingup", 300)])
def test_spec_tells_the_limit_that_the_task_keeps_itself(name: str, limit: int) -> None:
    env = gymnasium.make(f"wmrobot/{name}-v0", obs="state", render_mode="rgb_array")
    assert env.spec is not None
    assert env.spec.max_episode_steps == limit
    assert env.spec.kwargs == {"task": name, "obs": "state", "render_mode": "rgb_array"}
    wrapped = env
    while isinstance(wrapped, gymnasium.Wrapper):
        assert not isinstance(wrapped, gymnasium.wrappers.TimeLimit)
        wrapped = wrapped.env
    again = gymnasium.make(env.spec)
    assert again.spec is not None
    assert again.spec.max_episode_steps == limit
    for each in (env, again):
        each.close()
    shorter = gymnasium.make(f"wmrobot/{name}-v0", max_episode_steps=3)
    assert shorter.spec is not None
    assert shorter.spec.max_episode_steps == 3
    shorter.close()


def test_episode_is_truncated_not_terminated() -> None:
    env = gymnasium.make("wmrobot/cartpole-balance-v0")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(500)]
    assert ends == [(False, False)] * 499 + [(False, True)]
    env.close()
