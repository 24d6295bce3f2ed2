"""The reach that needs a camera and encoders: what each tells, and that both are enough."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wmrobot.core.resources import resource_folder
from wmrobot.envs.user_file import find_task_function

UPPER, LOWER = 0.12, 0.11  # [m] the two links
Array = NDArray[np.float64]


@pytest.fixture
def env() -> Iterator[Any]:
    file = resource_folder("tasks") / "reach_seen.py"
    environment = find_task_function(file, "reach_seen")(seed=0)
    environment.reset()
    yield environment
    environment.close()


def put(env: Any, *, arm: tuple[float, float] = (0.0, 0.0), pin: tuple[float, float]) -> None:
    with env.physics.reset_context():
        env.physics.data.qpos[:] = arm
        env.physics.data.mocap_pos[0, :2] = pin


def state(env: Any) -> Array:
    return np.hstack(list(env.task.get_observation(env.physics).values()))


def picture(env: Any) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = env.physics.render(64, 64, camera_id="below")
    return drawn


def yellow(drawn: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (height, width) of the pin: much red and green, little blue."""
    return np.asarray(drawn, dtype=int) @ [1, 1, -2] > 150


def solve(pin: Array) -> tuple[float, float]:
    """Angles of shoulder and elbow that bring the tip over the pin, by the law of cosines."""
    cos = (pin @ pin - UPPER**2 - LOWER**2) / (2 * UPPER * LOWER)
    elbow = math.acos(np.clip(cos, -1, 1))
    across, along = LOWER * math.sin(elbow), UPPER + LOWER * math.cos(elbow)
    return math.atan2(pin[1], pin[0]) - math.atan2(across, along), elbow


def test_encoders_tell_the_arm_and_nothing_of_the_pin(env: Any) -> None:
    put(env, arm=(0.3, -1.1), pin=(0.1, 0.1))
    before = state(env)
    np.testing.assert_allclose(
        before, [math.sin(0.3), math.cos(0.3), math.sin(-1.1), math.cos(-1.1), 0, 0]
    )
    put(env, arm=(0.3, -1.1), pin=(-0.15, 0.02))
    np.testing.assert_array_equal(state(env), before)


def test_the_camera_sees_the_pin_and_nothing_of_the_arm(env: Any) -> None:
    put(env, arm=(0.0, 0.0), pin=(0.15, 0.0))  # the arm lies right above it
    before = picture(env)
    put(env, arm=(2.0, 1.5), pin=(0.15, 0.0))
    np.testing.assert_array_equal(picture(env), before)
    put(env, arm=(2.0, 1.5), pin=(-0.15, 0.0))
    columns = [yellow(each).nonzero()[1] for each in (before, picture(env))]
    assert 20 < len(columns[0]) < 200
    assert columns[0].mean() - columns[1].mean() > 25  # the pin has crossed the table


def test_people_see_the_arm_in_films(env: Any) -> None:
    """Films look through the model's first camera."""
    drawn = []
    for arm in ((0.0, 0.0), (2.0, 1.5)):
        put(env, arm=arm, pin=(0.15, 0.0))
        drawn.append(env.physics.render(64, 64, camera_id=0).astype(int))
    red = [((each @ [1, -1, 0]) > 60).nonzero() for each in drawn]
    assert min(len(rows) for rows, _ in red) > 20
    assert red[0][1].mean() - red[1][1].mean() > 5  # it has turned to the left


def test_the_reward_is_that_of_its_formula(env: Any) -> None:
    tip = UPPER + LOWER
    for distance in (0.0, 0.03, 0.1):
        put(env, pin=(tip - distance, 0.0))
        far, near = math.exp(-((distance / 0.1) ** 2)), math.exp(-((distance / 0.03) ** 2))
        assert env.task.get_reward(env.physics) == pytest.approx((far + near) / 2, abs=1e-9)


def test_pins_lie_within_reach_and_repeat_with_the_seed(env: Any) -> None:
    again = find_task_function(resource_folder("tasks") / "reach_seen.py", "reach_seen")(seed=0)
    again.reset()
    pins = []
    for _ in range(50):
        env.reset()
        again.reset()
        pins.append(env.physics.data.mocap_pos[0, :2].copy())
        np.testing.assert_array_equal(pins[-1], again.physics.data.mocap_pos[0, :2])
        np.testing.assert_array_equal(env.physics.data.qpos, again.physics.data.qpos)
        q = solve(pins[-1])
        put(env, arm=q, pin=tuple(pins[-1]))
        assert env.task.distance(env.physics) < 1e-6
    assert np.std(np.array(pins), axis=0).min() > 0.08


def reward(distance: Array) -> Array:
    return (np.exp(-((distance / 0.1) ** 2)) + np.exp(-((distance / 0.03) ** 2))) / 2


def test_neither_sense_alone_is_enough() -> None:
    """Bounds of the mean return, 100 a perfect episode.

    Rewards are not observed. Who does not see the pin can do no better at any time than to be at
    the one place that is best on average. Who does not know the arm cannot know the shoulder's
    angle, which is uniform at first and without stops: the tip's bearing stays uniform, and only
    its radius can be chosen for the pin.
    """
    pins = np.sqrt(np.linspace(0.08**2, 0.21**2, 60))  # equal shares of the area
    bearings = np.linspace(0, np.pi, 400)
    tips = np.linspace(0.0, UPPER + LOWER, 47)[:, None, None]
    distance = np.hypot(tips - pins[:, None] * np.cos(bearings), pins[:, None] * np.sin(bearings))
    value = reward(distance).mean(axis=2)  # (tip's radius, pin's radius)
    without_camera, without_encoders = value.mean(axis=1).max(), value.max(axis=0).mean()
    assert without_camera == pytest.approx(0.103, abs=0.001)
    assert without_encoders == pytest.approx(0.135, abs=0.001)


def test_who_knows_arm_and_pin_solves_it(env: Any) -> None:
    returns = []
    for _ in range(10):
        time_step, total = env.reset(), 0.0
        goal = np.array(solve(env.physics.data.mocap_pos[0, :2]))
        while not time_step.last():
            q, v = env.physics.data.qpos, env.physics.data.qvel
            error = goal - q
            error[0] = (error[0] + np.pi) % (2 * np.pi) - np.pi  # the shoulder has no stops
            time_step = env.step(np.clip(4.0 * error - 0.6 * v, -1, 1))
            total += time_step.reward
        returns.append(total)
        assert env.task.success(env.physics)
    assert min(returns) > 70
