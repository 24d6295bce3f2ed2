"""Closed loop: what it remembers, what it refuses, and that it can be broken off anywhere."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from tests.doubles import TINY, Broken, Lost, PointMass, tiny_model
from wmrobot.control.controller import Controller, check_obs, to_tensors
from wmrobot.core.errors import ObservationError
from wmrobot.core.random import make_generator
from wmrobot.core.spec import Obs
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.core.types import LatentModel
from wmrobot.plan.config import MppiConfig, PlannerConfig
from wmrobot.plan.noise import draw_noise
from wmrobot.plan.planner import make_planner

SMALL = {"iterations": 3, "num_samples": 64, "num_elites": 8, "num_prior": 4}
PIXELS = {"rgb": (3, 64, 64), "state": (5,)}
each_planner = pytest.mark.parametrize(
    "cfg", [cls(**SMALL) for cls in get_args(PlannerConfig)], ids=lambda cfg: cfg.kind
)


def point_mass(cfg: PlannerConfig | None = None, model: LatentModel | None = None) -> Controller:
    return Controller(
        model or PointMass(),
        cfg or MppiConfig(**SMALL),
        obs_shapes={"state": (2,)},
        action_dim=2,
        num_q=2,
        frame_stack=1,
        generator=make_generator(0, "controller"),
    )


def learned(cfg: PlannerConfig, obs_shapes: dict[str, tuple[int, ...]]) -> Controller:
    return Controller(
        tiny_model(trained=True, obs_shapes=obs_shapes),
        cfg,
        obs_shapes=obs_shapes,
        action_dim=2,
        num_q=TINY.num_q,
        frame_stack=TINY.frame_stack,
        generator=make_generator(0, "controller"),
    )


def test_frames_that_others_act_on_are_seen() -> None:
    shapes = {"rgb": (3, 64, 64)}
    frames = [np.full((1, 3, 64, 64), value, dtype=np.uint8) for value in (10, 20, 30)]
    seeing, acting, blind = (learned(MppiConfig(**SMALL), shapes) for _ in range(3))
    for frame in frames[:2]:
        seeing.see({"rgb": frame})
        acting.act({"rgb": frame})
    acting.generator.set_state(seeing.generator.get_state())
    acting._plan = None
    expected, found, apart = (c.act({"rgb": frames[2]}) for c in (acting, seeing, blind))
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, apart)


def test_observations_are_copied_before_they_go_to_the_model() -> None:
    """An environment may write its next ones where these were, while a GPU has yet to read them."""
    given = np.ones((1, 5), dtype=np.float32)
    seen = to_tensors({"state": given}, torch.device("cpu"))["state"]
    given[:] = 2
    assert seen.tolist() == [[1.0] * 5]


def state(*rows: tuple[float, ...]) -> Obs:
    return {"state": np.array(rows, dtype=np.float32)}


def observations(batch: int, seed: int) -> Obs:
    draw = np.random.default_rng(seed)
    return {
        "state": draw.normal(size=(batch, 5)).astype(np.float32),
        "rgb": draw.integers(256, size=(batch, 3, 64, 64), dtype=np.uint8),
    }


@each_planner
@pytest.mark.parametrize("batch", [1, 3])
def test_drives_a_point_mass_home(cfg: PlannerConfig, batch: int) -> None:
    controller = point_mass(replace(cfg, iterations=6, num_samples=128))
    position = np.random.default_rng(0).uniform(-2, 2, (batch, 2)).astype(np.float32)
    for _ in range(6):
        action = controller.act({"state": position})
        assert action.shape == (batch, 2)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
        position = position + action
    assert np.abs(position).max() < 0.15


@each_planner
def test_resetting_a_row_leaves_the_others_bit_equal(cfg: PlannerConfig) -> None:
    kept, reset = (learned(cfg, {"state": (5,)}) for _ in range(2))
    obs = {"state": observations(8, 0)["state"]}
    for _ in range(2):
        np.testing.assert_array_equal(kept.act(obs, explore=True), reset.act(obs, explore=True))
    reset.reset(np.array([3]))
    first, second = kept.act(obs, explore=True), reset.act(obs, explore=True)
    others = np.arange(8) != 3
    np.testing.assert_array_equal(first[others], second[others])
    for a, b in zip(kept.plan, reset.plan, strict=True):
        assert a[others].equal(b[others])
    assert not kept.plan.mean[3].equal(reset.plan.mean[3])


def test_a_reset_row_plans_as_if_it_were_new() -> None:
    used, fresh = point_mass(), point_mass()
    obs = state((0.5, -0.5), (1.0, 1.0))
    used.act(obs)
    used.reset(np.array([True, False]))
    used.generator.manual_seed(7)
    fresh.generator.manual_seed(7)
    np.testing.assert_array_equal(used.act(obs)[0], fresh.act(obs)[0])


def test_after_a_reset_of_all_the_number_of_robots_may_change() -> None:
    controller = point_mass()
    assert controller.act(state((0.5, 0.5))).shape == (1, 2)
    controller.reset()
    assert controller.act(state((0.5, 0.5), (0.1, 0.1), (0, 0))).shape == (3, 2)


def test_same_seed_same_actions() -> None:
    obs = state((0.5, -0.5))
    first, second = point_mass(), point_mass()
    for explore in (True, False, True):
        np.testing.assert_array_equal(
            first.act(obs, explore=explore), second.act(obs, explore=explore)
        )


def test_exploration_adds_noise_within_range() -> None:
    """From far away every elite saturates, and noise must not push further."""
    controller = point_mass()
    obs = state(*[(5.0, 0.3)] * 50)
    drawn = controller.act(obs, explore=True)
    assert np.abs(drawn).max() <= 1
    assert drawn[:, 1].std() > 0.03
    calm = controller.act(obs)
    np.testing.assert_array_equal(calm, controller.plan.mean[:, 0].numpy())


def test_each_row_may_explore_or_not() -> None:
    obs = state((0.5, -0.5), (0.1, 0.9), (-0.3, 0.2))
    mixed, drawn, calm = (
        point_mass().act(obs, explore=explore)
        for explore in (np.array([True, False, True]), True, False)
    )
    np.testing.assert_array_equal(mixed[[0, 2]], drawn[[0, 2]])
    np.testing.assert_array_equal(mixed[1], calm[1])


def test_every_plan_starts_from_the_last_one() -> None:
    controller = point_mass()
    obs = state((0.5, -0.5), (0.1, 0.9))
    controller.act(obs)
    controller.reset(np.array([1]))
    last = controller.plan
    assert last.valid.tolist() == [True, False]
    generator = controller.generator.clone_state()
    noise = draw_noise(controller.cfg, batch=2, action_dim=2, num_q=2, generator=generator)
    controller.act(obs)
    expected = make_planner(controller.cfg)(
        PointMass(), torch.from_numpy(obs["state"]), last, noise
    )
    assert all(a.equal(b) for a, b in zip(controller.plan, expected, strict=True))


class Recording(PointMass):
    """A model that keeps the pictures it is asked to encode."""

    def __init__(self, model: LatentModel) -> None:
        self.model, self.seen = model, list[torch.Tensor]()
        self.step, self.value, self.propose = model.step, model.value, model.propose

    def encode(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        self.seen.append(obs["rgb"])
        return self.model.encode(obs)


def test_pictures_are_stacked_as_they_come() -> None:
    controller = learned(MppiConfig(**SMALL), PIXELS)
    controller.model = recording = Recording(controller.model)
    first, second = observations(2, 0), observations(2, 1)
    controller.act(first)
    controller.act(second)
    controller.reset(np.array([0]))
    controller.act(second)
    a, b = (torch.from_numpy(obs["rgb"]) for obs in (first, second))
    assert recording.seen[0].equal(torch.cat([a, a], dim=1))
    assert recording.seen[1].equal(torch.cat([a, b], dim=1))
    assert recording.seen[2].equal(torch.cat([b, b], dim=1))


@pytest.mark.parametrize("ticks", [0, 2])
def test_goes_on_bit_for_bit_from_a_saved_state(ticks: int, tmp_path: Path) -> None:
    cfg = MppiConfig(**SMALL)
    controller = learned(cfg, PIXELS)
    for tick in range(ticks):
        controller.act(observations(2, tick), explore=True)
        controller.reset(np.array([tick]))
    state = controller.state()
    save_tree(tmp_path, "controller", state)
    expected = [controller.act(observations(2, tick), explore=True) for tick in (5, 6, 7)]
    controller.reset(np.array([1]))
    for source in (state, load_tree(tmp_path, "controller")):
        again = learned(cfg, PIXELS)
        again.generator.manual_seed(99)
        again.load_state(source)
        for tick, action in zip((5, 6, 7), expected, strict=True):
            np.testing.assert_array_equal(again.act(observations(2, tick), explore=True), action)


def test_a_model_that_predicts_no_number_raises_and_never_acts() -> None:
    with pytest.raises(ObservationError) as error:
        point_mass(model=Lost()).act(state((0.5, 0.5), (0.1, 0.1)))
    assert str(error.value) == (
        "plan: expected a candidate with a finite return, got none for rows [0, 1]; "
        "the model's weights or the observation's range are broken"
    )


def test_candidates_that_are_no_numbers_are_not_executed() -> None:
    controller = point_mass(model=Broken())
    for explore in (False, True):
        action = controller.act(state((0.6, -0.4)), explore=explore)
        assert np.isfinite(action).all()
    assert controller.plan.num_invalid.item() > 0 or controller.plan.std[0, 0, 0] < 0.3


def test_overflowing_weights_raise() -> None:
    controller = learned(MppiConfig(**SMALL), {"state": (5,)})
    with torch.no_grad():
        next(controller.model.encoder.parameters()).fill_(float("inf"))  # type: ignore[attr-defined]
    with pytest.raises(ObservationError, match=r"^plan: expected a candidate .* rows \[0\]"):
        controller.act({"state": np.ones((1, 5), dtype=np.float32)})


SHAPES = {"state": (2,), "rgb": (3, 4, 4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": None}, "obs: expected ['rgb', 'state'], got ['rgb']"),
        (
            {"state": np.zeros((2, 3), np.float32)},
            "obs.state: expected shape (B, 2), got (2, 3)",
        ),
        ({"state": np.zeros(2, np.float32)}, "obs.state: expected shape (B, 2), got (2,)"),
        ({"state": np.zeros((2, 2))}, "obs.state: expected float32, got float64"),
        (
            {"state": np.array([[0, 0], [0, np.nan]], np.float32)},
            "obs.state[1, 1]: expected a finite number, got nan",
        ),
        (
            {"state": np.array([[0, -np.inf], [0, 0]], np.float32)},
            "obs.state[0, 1]: expected a finite number, got -inf",
        ),
        ({"state": [[0.0, 0.0]]}, "obs.state: expected a numpy array, got list"),
        (
            {"rgb": np.zeros((2, 4, 4, 3), np.uint8)},
            "obs.rgb: expected shape (2, 3, 4, 4), got (2, 4, 4, 3)",
        ),
        ({"rgb": np.zeros((2, 3, 4, 4), np.float32)}, "obs.rgb: expected uint8, got float32"),
        ({"rgb": np.zeros((1, 3, 4, 4), np.uint8)}, "obs.rgb: expected 2 rows, got 1"),
    ],
)
def test_observations_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    obs: dict[str, object] = {
        "state": np.zeros((2, 2), np.float32),
        "rgb": np.zeros((2, 3, 4, 4), np.uint8),
    }
    obs = {name: value for name, value in (obs | change).items() if value is not None}
    with pytest.raises(ObservationError) as error:
        check_obs(obs, SHAPES)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_an_array_instead_of_arrays_by_modality_is_refused() -> None:
    with pytest.raises(ObservationError) as error:
        point_mass().act(np.zeros((1, 2), np.float32))  # type: ignore[arg-type]
    assert str(error.value) == "obs: expected arrays by modality, ['state'], got ndarray"


def test_a_refused_observation_changes_nothing() -> None:
    controller, untouched = point_mass(), point_mass()
    obs = state((0.5, 0.5))
    controller.act(obs)
    untouched.act(obs)
    with pytest.raises(ObservationError):
        controller.act(state((np.nan, 0.0)))
    np.testing.assert_array_equal(controller.act(obs), untouched.act(obs))
