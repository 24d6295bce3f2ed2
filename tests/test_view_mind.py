"""Who decides: timed planning is the same planning, and the decoder tells what it can."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.doubles import noise_for, tiny_model
from wmrobot.control.controller import tick
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_generator
from wmrobot.core.types import P, R
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.noise import empty_plan
from wmrobot.plan.planner import make_planner
from wmrobot.view.driving import decoder as decoder_module
from wmrobot.view.driving.decoder import Decoder, fit, wrap
from wmrobot.view.driving.mind import LearnedMind, planner_from
from wmrobot.view.driving.timed_planner import Stages

SIZES = {"iterations": 2, "num_samples": 16, "num_elites": 4, "num_prior": 2}
PLANNERS: tuple[PlannerConfig, ...] = (
    MppiConfig(**SIZES),
    CemConfig(**SIZES),
    IcemConfig(**SIZES),
)


def make_mind(agent: str = "trained") -> LearnedMind:
    return LearnedMind(
        model=tiny_model(trained=True).eval(),
        base=PLANNERS[0],
        obs_shapes={"state": (5,)},
        frame_stack=1,
        generator=make_generator(0, "test"),
        agent=agent,  # type: ignore[arg-type]
    )


OBS = {"state": np.linspace(-1, 1, 5, dtype=np.float32)[None]}


@pytest.mark.parametrize("cfg", PLANNERS, ids=lambda cfg: cfg.kind)
def test_timed_planning_is_the_same_planning(cfg: PlannerConfig) -> None:
    model = tiny_model(trained=True).eval()
    noise, obs = noise_for(cfg, 1, 2, num_q=3), {"state": torch.from_numpy(OBS["state"])}
    warm_start = empty_plan(cfg, batch=1, action_dim=2, device=torch.device("cpu"))
    stages = Stages(cfg)
    with torch.no_grad():
        timed = stages(tick)(model, obs, warm_start, noise)  # type: ignore[call-arg,arg-type]
        plain = tick(make_planner(cfg), model, obs, warm_start, noise)
    for found, expected in zip(timed, plain, strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert stages.ms.keys() == {"encode", "prior", "search"}
    assert all(value > 0 for value in stages.ms.values())


def test_only_the_planner_as_trained_is_compiled() -> None:
    calls: list[str] = []

    def compiler(function: Callable[P, R], /) -> Callable[P, R]:
        def noted(*args: P.args, **kwargs: P.kwargs) -> R:
            calls.append(getattr(function, "func", function).__name__)  # type: ignore[attr-defined]
            return function(*args, **kwargs)

        return noted

    mind = replace(make_mind(), compiler=compiler)
    stages = ["_encode", "propose", "search_from"]
    for values, compiled in (
        ({}, stages),
        ({"horizon": 5}, []),
        ({"agent": "shuffled"}, []),
        ({"agent": "trained"}, stages),
    ):
        mind.configure(values)
        calls.clear()
        assert mind.act(OBS).shape == (1, 2)
        assert calls == compiled


@pytest.mark.parametrize("kind", ["mppi", "cem", "icem"])
@pytest.mark.parametrize("samples", [8, 16, 100])
def test_any_number_of_samples_makes_a_planner(kind: str, samples: int) -> None:
    planner = planner_from(PLANNERS[0], {"planner": kind, "samples": samples, "horizon": 5})
    assert (planner.kind, planner.num_samples, planner.horizon) == (kind, samples, 5)


def test_defaults_are_the_planner_that_it_was_trained_with() -> None:
    for base in PLANNERS:
        assert planner_from(base, {}) == base


@pytest.mark.parametrize("agent", ["trained", "prior", "zero", "shuffled"])
def test_every_agent_acts_and_imagines(agent: str) -> None:
    mind = make_mind(agent)
    assert mind.act(OBS).shape == (1, 2)
    rolled = mind.imagine(4, 6)
    assert rolled is not None
    plans = agent in ("trained", "shuffled")
    assert rolled.z.shape == ((4 if plans else 1), 7, 16)
    assert rolled.horizon == (3 if plans else 0)
    assert (mind.thought() is not None) == plans


def test_imagination_starts_with_what_was_encoded_and_leaves_the_plan_alone() -> None:
    mind, other = make_mind(), make_mind()
    mind.act(OBS)
    other.act(OBS)
    rolled = mind.imagine(4, 6)
    assert rolled is not None
    z = mind.model.encode({"state": torch.from_numpy(OBS["state"])})
    torch.testing.assert_close(rolled.z[:, 0], z.expand(4, -1))
    np.testing.assert_array_equal(mind.act(OBS), other.act(OBS))


def test_settings_that_do_not_go_together_change_nothing() -> None:
    mind = make_mind()
    before = mind.planner
    with pytest.raises(ConfigError, match="horizon: expected at least 1"):
        mind.configure({"horizon": 0})
    assert mind.planner is before
    mind.configure({"horizon": 5, "agent": "shuffled"})
    assert (mind.planner.horizon, mind.agent) == (5, "shuffled")
    assert mind.act(OBS).shape == (1, 2)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "STEPS", 300)
    monkeypatch.setattr(decoder_module, "WIDTH", 64)


def known_states(count: int = 1500) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Latents that tell an angle and a slide, and nothing of a third joint."""
    draw = np.random.default_rng(0)
    angle, slide, hidden = draw.uniform(-3, 3, (3, count))
    z = np.stack([np.sin(angle), np.cos(angle), slide, slide**2], axis=1)
    qpos = np.stack([angle + 2 * np.pi * draw.integers(-2, 3, count), slide, hidden], axis=1)
    return torch.from_numpy(z.astype(np.float32)), qpos, np.stack([slide, angle, slide], axis=1)


@pytest.mark.usefixtures("few_steps")
def test_decoder_tells_what_the_latent_tells() -> None:
    z, qpos, qvel = known_states()
    turns = np.array([True, False, False])
    decoder, error = fit(z, qpos, qvel, turns, make_generator(0, "test"))
    assert error.qpos[:2].max() < 0.1
    assert error.is_seen.tolist() == [True, True, False]
    told, speeds = decoder.decode(z)
    off = np.abs(wrap(told - qpos, turns))
    assert off[:, :2].mean() < 0.1
    assert np.abs(speeds[:, 0] - qvel[:, 0]).mean() < 0.1


def test_decoder_is_the_same_for_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "STEPS", 5)
    z, qpos, qvel = known_states(300)
    turns = np.array([True, False, False])
    first, second = (
        fit(z, qpos, qvel, turns, make_generator(0, "test"))[0].decode(z)[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert isinstance(Decoder(4, turns, 3), torch.nn.Module)
