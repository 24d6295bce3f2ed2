"""The planner without torch: what it remembers, what it refuses, and that it is the trained one."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.bundles import random_facts, shipped_facts, write
from tests.doubles import noise_for
from wmrobot.control.controller import check_obs as check_in_training
from wmrobot.core import errors
from wmrobot.core.spec import FloatArray, Obs, TaskSpec
from wmrobot.envs.randomization import randomize
from wmrobot.envs.task import Randomization
from wmrobot.envs.vector import VectorEnv
from wmrobot.export.describe import describe, encode_json, look_at_robot
from wmrobot.export.parity import BOUND, MOST_TIES, is_tie
from wmrobot.export.record import TorchPlanner
from wmrobot.plan.config import IcemConfig
from wmrobot.plan.noise import colour as colour_in_training
from wmrobot.plan.planner import make_rules
from wmrobot.runtime import Planner, StateBuilder
from wmrobot.runtime.bundle.description import Description, SensorTerm
from wmrobot.runtime.bundle.document import read_description
from wmrobot.runtime.errors import ObservationError
from wmrobot.runtime.planning.golden import Tick
from wmrobot.runtime.planning.noise import colour, draw_noise, make_generator
from wmrobot.runtime.planning.observations import check_obs


def describe_cart(**changes: Any) -> Description:
    facts = random_facts(**changes)
    document = describe(facts, look_at_robot(facts), batch=None, precision="fp32")
    return read_description(encode_json(document))


def state(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    return {"state": np.array(rows, dtype=np.float32)}


def test_same_seed_same_actions(cart_bundle: Path) -> None:
    one, other = (Planner.load(cart_bundle, seed=3) for _ in range(2))
    another = Planner.load(cart_bundle, seed=4)
    obs = state((0.5, -9.5, 1.0))
    actions = [planner.act(obs) for planner in (one, other, another)]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[0] != actions[2]).any()
    assert (actions[0].shape, actions[0].dtype) == ((1, 1), np.float32)
    assert np.abs(actions[0]).max() <= 1


def test_plans_start_from_the_last_one(cart_bundle: Path) -> None:
    planner = Planner.load(cart_bundle)
    obs = state((0.5, -9.5, 1.0))
    planner.act(obs)
    previous = planner.previous(1)
    assert previous.valid.tolist() == [True]
    np.testing.assert_array_equal(previous.mean, planner.outputs.mean)
    noise = draw_noise(planner.description, 1, make_generator(7))
    plans = [planner.plan(obs, noise, previous) for _ in range(2)]
    for a, b in zip(*plans, strict=True):
        np.testing.assert_array_equal(a, b)
    planner.reset(np.array([0]))
    assert planner.previous(1).valid.tolist() == [False]
    planner.reset()
    assert not planner.previous(1).mean.any()


def test_lost_plans_are_refused_and_forgotten(
    cart_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = Planner.load(cart_bundle)
    planner.act(state((0.5, -9.5, 1.0)))
    good, plan = planner.outputs, planner.plan
    everything = np.array([planner.description.search.num_samples])
    monkeypatch.setattr(
        planner, "plan", lambda *given: plan(*given)._replace(num_invalid=everything)
    )
    with pytest.raises(ObservationError, match=r"got none for rows \[0\]"):
        planner.act(state((0.5, -9.5, 1.0)))
    assert planner.outputs is good


@pytest.mark.parametrize(
    "obs",
    [
        np.zeros((2, 5), np.float32),
        {},
        {"state": np.zeros((2, 5), np.float32), "more": np.zeros(2)},
        {"state": [[0.0] * 5]},
        {"state": np.zeros(5, np.float32)},
        {"state": np.zeros((2, 4), np.float32)},
        {"state": np.zeros((2, 5))},
        {"state": np.array([[0, 0, np.nan, 0, 0]], np.float32)},
        {"state": np.zeros((2, 5), np.float32)},
    ],
    ids=str,
)
def test_observations_are_refused_as_in_training(obs: Any) -> None:
    shapes: Mapping[str, tuple[int, ...]] = {"state": (5,)}
    told = []
    for check, kind in (
        (check_in_training, errors.ObservationError),
        (check_obs, ObservationError),
    ):
        arguments = (obs, shapes) if check is check_in_training else (obs, shapes, None)
        try:
            told.append(check(*arguments))  # type: ignore[operator]
        except kind as error:  # type: ignore[misc]
            told.append(str(error))
    assert told[0] == told[1]


def test_another_number_of_robots_is_refused(cart_bundle: Path) -> None:
    with pytest.raises(ObservationError, match=r"obs\.state: expected 1 rows, got 2"):
        Planner.load(cart_bundle).act(state((0, 0, 0), (0, 0, 0)))


@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_noise_is_coloured_as_in_training(horizon: int, beta: float) -> None:
    white = np.random.default_rng(0).standard_normal((50, horizon, 2), dtype=np.float32)
    expected = colour_in_training(torch.tensor(white), beta).numpy()
    np.testing.assert_allclose(colour(white, beta), expected, atol=2e-6)
    assert colour(white, beta).dtype == np.float32


def test_noise_has_the_shapes_of_training() -> None:
    cfg = IcemConfig(iterations=2, num_samples=400, num_elites=6, num_prior=20)
    noise = draw_noise(describe_cart(planner=cfg), 3, make_generator(0))
    expected = noise_for(cfg, 3, 1, num_q=2)
    for name, value in noise._asdict().items():
        assert value.shape == getattr(expected, name).shape, name
    for value in (noise.candidates, noise.prior, noise.terminal):
        assert abs(value.mean()) < 0.1
        assert abs(value.std() - 1) < 0.1
    assert sorted(noise.heads[0].tolist()) == [0, 1]


class Sensors:
    """A robot with two sensors and two motors, whose readings are counted."""

    physics = None
    task_spec = TaskSpec(
        name="sensors", obs_shapes={"state": (2,)}, action_dim=2, control_dt=0.1, action_repeat=1,
        episode_decisions=10, episodic=False, obs_names=("a", "b"), action_names=("left", "right"),
        action_bounds=((-1.0, -1.0), (1.0, 1.0)),
    )  # fmt: skip

    def __init__(self) -> None:
        self.raw = np.zeros(2, np.float32)

    def reset(self, seed: int | None = None) -> Obs:
        self.raw = self.raw + np.float32(0.25)
        return {"state": self.raw}

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        self.raw = self.raw + np.array([1, 0.5], np.float32)
        return {"state": self.raw}, 0.0, False, False, {}


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("previous", [0, 1, 2])
def test_state_is_built_as_in_training(history: int, previous: int) -> None:
    random = Randomization(obs_history=history, previous_actions=previous, action_delay=(1, 1))
    inner = Sensors()
    env = randomize(inner, random, seed=0)  # type: ignore[arg-type]
    cart = describe_cart()
    assert cart.state is not None
    terms = tuple(replace(cart.state.terms[0], name=name) for name in ("a", "b"))
    built = replace(cart.state, terms=terms, history=history, previous_actions=previous)
    description = replace(cart, state=built, actions=(cart.actions[0],) * 2)
    builder = StateBuilder(description)
    draw = np.random.default_rng(0)
    for _ in range(2):
        expected = env.reset()["state"]
        builder.reset()
        for tick in range(5):
            sensors = dict(zip(("b", "a"), inner.raw[::-1, None], strict=True))
            given = sensors if tick % 2 else inner.raw[None]
            np.testing.assert_array_equal(builder.observe(given)[0], expected)
            action = draw.uniform(-1.5, 1.5, 2).astype(np.float32)
            builder.acted(action[None])
            expected = env.step(action)[0]["state"]


def test_rows_of_state_restart_alone() -> None:
    cart = describe_cart()
    assert cart.state is not None
    description = replace(cart, state=replace(cart.state, history=2, previous_actions=1))
    builder = StateBuilder(description)
    builder.observe(np.zeros((2, 3), np.float32))
    builder.acted(np.full((2, 1), 0.5, np.float32))
    builder.reset(np.array([1]))
    found = builder.observe(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(found[0], [0, 0, 0, 1, 1, 1, 0.5])
    np.testing.assert_array_equal(found[1], [1, 1, 1, 1, 1, 1, 0.0])


def test_sensors_are_scaled_and_clipped() -> None:
    cart = describe_cart()
    assert cart.state is not None
    first = SensorTerm(name="x", unit="V", scale=2.0, offset=1.0, clip=(-1.5, 4.0))
    description = replace(cart, state=replace(cart.state, terms=(first, *cart.state.terms[1:])))
    found = StateBuilder(description).observe(np.array([[1.0, 5, 5], [9.0, 5, 5], [-9.0, 5, 5]]))
    assert found[:, 0].tolist() == [3.0, 4.0, -1.5]
    assert (found[:, 1:] == 5).all()


@pytest.mark.parametrize(
    ("sensors", "expected"),
    [
        ({"qpos[0]": 0.0}, r"sensors: expected \['qpos\[0\]', .*missing or unknown: \["),
        (np.zeros((1, 2)), r"sensors: expected shape \(B, 3\), got \(1, 2\)"),
        (np.array([["a", "b", "c"]]), r"sensors: expected numbers, got others \(could not convert"),
        (np.array([[0, np.inf, 0]]), r"sensors: 'more\[0\]' of row 0: expected a finite number"),
    ],
)
def test_sensors_are_checked(sensors: Any, expected: str) -> None:
    with pytest.raises(ObservationError, match=expected):
        StateBuilder(describe_cart()).observe(sensors)


def test_actions_in_the_actuators_unit() -> None:
    action = np.array([[-1.0], [0.5], [3.0]], np.float32)
    assert describe_cart().to_actuators(action).tolist() == [[-2.0], [1.0], [2.0]]


ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("numpy", "onnxruntime", "wmrobot"):
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nothing())
import numpy as np
from wmrobot.runtime import Planner, Stages, StateBuilder

planner = Planner.load({folder!r})
builder = StateBuilder(planner.description)
action = planner.act({{"state": builder.observe(np.zeros((1, 3)))}})
builder.acted(action)
loaded = {{name.partition(".")[0] for name in sys.modules}}
assert not loaded & {{"torch", "mujoco", "hydra", "pydantic", "onnx", "safetensors"}}
assert not [name for name in sys.modules if name.startswith("wmrobot.") and "runtime" not in name]
print(action.shape)
"""


def test_runs_where_there_is_nothing_else(cart_bundle: Path, tmp_path: Path) -> None:
    code = ALONE.format(folder=str(cart_bundle))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("(1, 1)\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["qube2-swingup", "cartpole-swingup"])
def test_lock_step_with_the_trained_controller(task: str, tmp_path: Path) -> None:
    """3 episodes, the same noise, each from its own last plan: the means stay together.

    Where one plan hangs on a tie, both are right, and go on from the same one.
    """
    facts = shipped_facts(task)
    planner = Planner.load(write(tmp_path / "bundle", facts))
    trained = TorchPlanner(facts.model, make_rules(facts.planner))
    mine = theirs = planner.previous(1)
    decisions = ties = 0
    with VectorEnv(task, 1, seed=5, **facts.options) as env:
        obs, episodes = env.reset(), 0
        while episodes < 3:
            noise = draw_noise(planner.description, 1, make_generator(decisions))
            expected = trained(obs, noise, theirs)
            found = planner.plan(obs, noise, mine)
            decisions += 1
            if np.abs(found.mean - expected.mean).max() > BOUND:
                assert is_tie(trained, Tick(obs, noise, mine, expected), found, 0), decisions
                ties += 1
                found = expected
            step = env.step(found.action)
            mine, theirs = (
                each.as_previous()._replace(valid=~step.ended) for each in (found, expected)
            )
            obs, episodes = step.obs, episodes + int(step.ended[0])
    assert decisions == 3 * facts.task.episode_decisions
    assert ties <= MOST_TIES * decisions
