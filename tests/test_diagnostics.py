"""Diagnostics tell what is known beforehand: models written by hand, series with a known sum."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.doubles import PointMass, noise_for
from wmrobot.data.batch import Batch
from wmrobot.learn.diagnostics import (
    OpenLoop,
    effective_rank,
    known_returns,
    linear_probe,
    open_loop_error,
    plan_figures,
    value_bias,
)
from wmrobot.plan.config import MppiConfig
from wmrobot.plan.noise import empty_plan
from wmrobot.plan.planner import make_planner


class Drift(PointMass):
    """Believes that every step goes 0.1 further than it does, and that it earns 0.25 more."""

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, reward, continuation = super().step(z, action)
        return z + 0.1, reward + 0.25, continuation


def lived(horizon: int = 4, size: int = 500) -> Batch:
    """What `PointMass` lives through with random actions."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(size, 2, generator=generator)
    actions = torch.rand(horizon, size, 2, generator=generator) - 0.5
    states, rewards = [z], []
    for action in actions:
        z, reward, _ = PointMass().step(z, action)
        states.append(z)
        rewards.append(reward)
    mask = torch.ones(horizon, size)
    return Batch({"state": torch.stack(states)}, actions, torch.stack(rewards), 0 * mask, mask)


def errors(model: PointMass, batch: Batch) -> OpenLoop:
    return open_loop_error(model, model.encode(batch.obs), batch)


def test_an_exact_model_has_no_error() -> None:
    error = errors(PointMass(), lived())
    torch.testing.assert_close(error.latent, torch.zeros(4))
    torch.testing.assert_close(error.reward, torch.zeros(4))


def test_a_drift_adds_up_over_the_horizon() -> None:
    batch = lived()
    states = batch.obs["state"]
    error = errors(Drift(), batch)
    variance = states[1:].var(dim=1, unbiased=False).sum(dim=-1)  # (H,)
    steps = torch.arange(1, 5)
    torch.testing.assert_close(error.latent, 2 * (0.1 * steps).square() / variance)
    assert float(error.reward[0]) == pytest.approx(0.25)  # the drift comes after this reward


def test_decisions_that_did_not_happen_do_not_count() -> None:
    whole, batch = lived(), lived()
    mask = batch.mask.clone()
    mask[2:, 100:] = 0
    reward = batch.reward.clone()
    reward[2:, 100:] = 1e6
    cut = errors(Drift(), batch._replace(mask=mask, reward=reward))
    alone = Batch(
        {"state": whole.obs["state"][:, :100]},
        *(value[:, :100] for value in whole[1:5]),
    )
    torch.testing.assert_close(cut.latent[2:], errors(Drift(), alone).latent[2:])
    torch.testing.assert_close(cut.reward[2:], errors(Drift(), alone).reward[2:])


def test_a_horizon_that_no_episode_reaches_has_no_error() -> None:
    batch = lived()
    mask = batch.mask.clone()
    mask[3] = 0
    error = errors(PointMass(), batch._replace(mask=mask))
    assert error.latent.isnan().tolist() == [False, False, False, True]
    assert error.reward.isnan().tolist() == [False, False, False, True]


def test_a_depth_that_one_state_alone_reaches_has_no_error_of_the_latent() -> None:
    batch = lived()
    mask = batch.mask.clone()
    mask[3, 1:] = 0
    error = errors(Drift(), batch._replace(mask=mask))
    assert error.latent.isnan().tolist() == [False, False, False, True]
    assert float(error.reward[3]) == pytest.approx(0.25, abs=2)


def test_a_right_value_is_not_called_too_high_where_an_episode_is_cut() -> None:
    reward, discount = np.ones(200), 0.9
    returns, known = known_returns(reward, discount, terminated=False, beyond=10.0)
    np.testing.assert_allclose(returns, 10.0)
    assert value_bias(np.full(known.sum(), 10.0), returns[known]).bias == pytest.approx(0)


def test_a_constant_reward_is_worth_its_geometric_series() -> None:
    reward, discount = np.ones(200), 0.9
    returns, known = known_returns(reward, discount, terminated=False, beyond=0.0)
    left = np.arange(200, 0, -1)
    np.testing.assert_allclose(returns, (1 - discount**left) / (1 - discount))
    assert known.sum() == 200 - 28  # 0.9^29 is the first power below 0.05
    np.testing.assert_allclose(returns[known], 10, rtol=0.05)
    bias = value_bias(np.full(known.sum(), 12.0), returns[known])
    assert bias.bias == pytest.approx(2.0, abs=0.1)
    assert bias.num_decisions == 172
    assert bias.target == pytest.approx(10, abs=0.1)


def test_a_terminated_episode_is_known_to_its_end() -> None:
    returns, known = known_returns(np.array([0.0, 0.0, 1.0]), 0.5, terminated=True, beyond=9.0)
    np.testing.assert_allclose(returns, [0.25, 0.5, 1.0])
    assert known.all()
    exact = value_bias(returns, returns)
    assert exact == (pytest.approx(7 / 12), pytest.approx(7 / 12), 0.0, 0.0, pytest.approx(1.0), 3)


def test_no_known_return_is_no_figure() -> None:
    bias = value_bias(np.zeros(0), np.zeros(0))
    assert bias.num_decisions == 0
    assert math.isnan(bias.bias)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rank_counts_the_directions(rank: int) -> None:
    generator = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
    corners = torch.cat([torch.eye(rank), -torch.eye(rank)])  # equally wide in every direction
    z = corners @ basis[:rank] + 5
    assert effective_rank(z) == pytest.approx(rank, abs=1e-3)


def test_latents_that_are_all_the_same_have_no_rank() -> None:
    assert effective_rank(torch.ones(10, 4)) == 0


def test_plan_tells_of_its_search() -> None:
    cfg = MppiConfig(iterations=3, num_samples=64, num_elites=8, num_prior=0)
    z = torch.tensor([[4.0, -4.0], [0.2, 0.1]])  # the first is best approached at the limits
    plan = make_planner(cfg)(
        PointMass(),
        z,
        empty_plan(cfg, batch=2, action_dim=2, device=torch.device("cpu")),
        noise_for(cfg, 2, 2),
    )
    figures = plan_figures(plan)
    assert figures["plan_std"] == pytest.approx(float(plan.std.mean()))
    assert 0 < figures["elites_clipped"] < 1
    spoiled = plan._replace(elites=torch.ones_like(plan.elites), num_invalid=torch.tensor([4, 0]))
    assert plan_figures(spoiled) == {
        "plan_std": figures["plan_std"],
        "elite_spread": 0.0,
        "elites_clipped": 1.0,
        "candidates_nan": 2.0,
    }


def test_probe_tells_what_is_linear_and_nothing_of_noise() -> None:
    draw = np.random.default_rng(0)
    z = draw.normal(size=(400, 6))
    z[:, 5] = z[:, 0] + z[:, 1]  # dependent, as a SimNorm's groups are
    noise = draw.normal(size=400)
    target = np.column_stack([z @ np.arange(6) + 3, noise, np.ones(400)])
    r2 = linear_probe(z[:300], target[:300], z[300:], target[300:])
    assert r2.shape == (3,)
    assert r2[0] == pytest.approx(1, abs=1e-6)
    assert r2[1] < 0.1
    assert math.isnan(r2[2])
