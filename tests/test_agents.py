"""Agents to compare with, and what each of them is."""

from typing import get_args

import numpy as np
import pytest
import torch

from tests.doubles import TINY, PointMass, tiny_model
from wmrobot.control.agents import (
    AgentKind,
    PriorAgent,
    RandomAgent,
    ShuffledDynamics,
    ZeroAgent,
    make_agent,
)
from wmrobot.control.controller import Controller
from wmrobot.core.errors import ObservationError
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import MppiConfig

SHAPES = {"state": (5,), "rgb": (3, 64, 64)}


def trained() -> Controller:
    return Controller(
        tiny_model(trained=True, obs_shapes=SHAPES),
        MppiConfig(iterations=2, num_samples=16, num_elites=4, num_prior=3),
        obs_shapes=SHAPES,
        action_dim=2,
        num_q=TINY.num_q,
        frame_stack=TINY.frame_stack,
        generator=make_generator(0, "controller"),
    )


def observations(batch: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "state": draw.normal(size=(batch, 5)).astype(np.float32),
        "rgb": draw.integers(256, size=(batch, 3, 64, 64), dtype=np.uint8),
    }


@pytest.mark.parametrize("kind", get_args(AgentKind))
@pytest.mark.parametrize("batch", [1, 3])
def test_every_agent_acts_within_range(kind: AgentKind, batch: int) -> None:
    agent = make_agent(kind, trained(), make_numpy_generator(0, "agent"))
    agent.reset()
    for _ in range(2):
        action = agent.act(observations(batch), explore=False)
        assert action.shape == (batch, 2)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
        agent.reset(np.array([0]))


def test_every_kind_is_another_agent() -> None:
    types = {
        kind: type(make_agent(kind, trained(), make_numpy_generator(0, "agent")))
        for kind in get_args(AgentKind)
    }
    assert types == {
        "trained": Controller,
        "shuffled": Controller,
        "prior": PriorAgent,
        "zero": ZeroAgent,
        "random": RandomAgent,
    }


def test_prior_acts_at_its_mean_on_stacked_frames() -> None:
    controller = trained()
    agent = make_agent("prior", controller, make_numpy_generator(0, "agent"))
    obs = observations(2)
    model = controller.model
    assert isinstance(model, WorldModel)
    pictures = torch.from_numpy(np.tile(obs["rgb"], (1, TINY.frame_stack, 1, 1)))
    z = model.encode({"state": torch.from_numpy(obs["state"]), "rgb": pictures})
    expected = model.prior_moments(z)[0].tanh().detach().numpy()
    np.testing.assert_allclose(agent.act(obs), expected, atol=1e-6)
    later = {"state": obs["state"], "rgb": 255 - obs["rgb"]}
    pictures = torch.cat([pictures[:, 3:], torch.from_numpy(later["rgb"])], dim=1)
    z = model.encode({"state": torch.from_numpy(obs["state"]), "rgb": pictures})
    expected = model.prior_moments(z)[0].tanh().detach().numpy()
    np.testing.assert_allclose(agent.act(later), expected, atol=1e-6)
    with pytest.raises(ObservationError):
        agent.act({"state": obs["state"]})


def test_zero_does_nothing_and_random_is_uniform() -> None:
    obs = {"state": np.zeros((4000, 5), dtype=np.float32)}
    assert not ZeroAgent(2).act(obs).any()
    drawn = RandomAgent(2, make_numpy_generator(0, "agent")).act(obs)
    assert abs(drawn.mean()) < 0.03
    assert drawn.std() == pytest.approx(1 / 3**0.5, abs=0.02)


@pytest.mark.parametrize("num_candidates", [12, 128, 512])
def test_shuffled_candidates_meet_consequences_of_other_actions(num_candidates: int) -> None:
    action = torch.linspace(-1, 1, num_candidates).reshape(1, num_candidates, 1)
    next_z, reward, _ = ShuffledDynamics(PointMass()).step(torch.zeros(1, 1, 1), action)
    assert reward.equal(PointMass().step(torch.zeros(1, 1, 1), action)[1])
    assert next_z.abs().max() <= 1
    correlation = torch.corrcoef(torch.cat([action[0].T, next_z[0].T]))[0, 1]
    assert abs(correlation.item()) < 3 / num_candidates**0.5


@pytest.mark.parametrize("own", [-1.0, 0.0, 0.3, 1.0])
def test_shuffled_candidates_that_are_alike_go_different_ways(own: float) -> None:
    """As the prior's proposals are: exchanging latents among them alone would be no shuffling."""
    action = torch.full((1, 12, 1), own)
    next_z, _, _ = ShuffledDynamics(PointMass()).step(torch.zeros(1, 1, 1), action)
    assert next_z.std().item() == pytest.approx(1 / 3**0.5, abs=0.1)  # of a uniform spread


def test_shuffled_dynamics_keeps_everything_else() -> None:
    model = tiny_model(trained=True)
    shuffled = ShuffledDynamics(model)
    z, action = torch.rand(2, 3, 16), torch.rand(2, 3, 2)
    heads = torch.tensor([0, 1])
    assert shuffled.value(z, action, heads).equal(model.value(z, action, heads))
    assert shuffled.propose(z, action).equal(model.propose(z, action))
    assert shuffled.step(z, action)[1].equal(model.step(z, action)[1])
