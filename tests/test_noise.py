"""The randomness of a search: shapes, distributions, spectra, repeatability."""

import math

import pytest
import torch

from wmrobot.core.random import make_generator
from wmrobot.core.types import PlanNoise
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig
from wmrobot.plan.noise import colour, draw_noise, empty_plan

CFG = MppiConfig(horizon=4, iterations=2, num_samples=10, num_elites=3, num_prior=2)


def draw(
    cfg: MppiConfig | CemConfig | IcemConfig = CFG, batch: int = 5, seed: int = 0
) -> PlanNoise:
    return draw_noise(
        cfg, batch=batch, action_dim=3, num_q=5, generator=make_generator(seed, "noise")
    )


def test_shapes_are_what_the_type_says() -> None:
    shapes = {name: tuple(x.shape) for name, x in draw()._asdict().items()}
    assert shapes == {
        "candidates": (2, 5, 8, 4, 3),
        "prior": (5, 2, 4, 3),
        "terminal": (5, 10, 3),
        "heads": (2, 2),
        "pick": (5, 3),
        "execution": (5, 3),
    }


def test_same_seed_same_noise() -> None:
    assert all(a.equal(b) for a, b in zip(draw(), draw(), strict=True))
    assert not any(a.equal(b) for a, b in zip(draw(batch=40), draw(batch=40, seed=1), strict=True))


def test_heads_are_two_different_ones_and_every_pair_comes_up() -> None:
    cfg = CemConfig(iterations=4000, num_samples=2, num_elites=1, num_prior=0, horizon=1)
    heads = draw(cfg, batch=1).heads
    assert (heads[:, 0] != heads[:, 1]).all()
    _, counts = (heads.sort(dim=1).values @ torch.tensor([5, 1])).unique(return_counts=True)
    assert len(counts) == 10  # pairs of 5
    assert (counts - 400).abs().max() < 5 * math.sqrt(400)


def test_normal_draws_are_standard() -> None:
    noise = draw(batch=2000)
    for x in (noise.candidates, noise.prior, noise.terminal, noise.execution):
        assert abs(x.mean()) < 5 / math.sqrt(x.numel())
        assert abs(x.var() - 1) < 5 * math.sqrt(2 / x.numel())


def test_gumbel_picks_in_proportion_to_the_weights() -> None:
    weights = torch.tensor([0.6, 0.3, 0.1])
    chosen = (weights.log() + draw(batch=20_000).pick).argmax(dim=1)
    found = chosen.bincount() / len(chosen)
    error = (weights * (1 - weights) / len(chosen)).sqrt()
    assert ((found - weights).abs() < 4 * error).all()


def test_weightless_elites_are_never_picked() -> None:
    pick = draw(batch=20_000).pick
    assert pick.isfinite().all()
    weights = torch.tensor([0.0, 1.0, 0.0]).clamp(min=1e-30)
    assert ((weights.log() + pick).argmax(dim=1) == 1).all()


def spectrum(beta: float, horizon: int) -> torch.Tensor:
    """Mean power of each frequency of unit-variance noise, the lowest first."""
    white = torch.randn(20_000, horizon, 1, generator=make_generator(0, "white"))
    return torch.fft.rfft(colour(white, beta), dim=1).abs().square().mean(dim=(0, 2))


@pytest.mark.parametrize("horizon", [3, 8, 15])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.5])
def test_coloured_noise_has_unit_variance_and_its_spectrum(beta: float, horizon: int) -> None:
    white = torch.randn(20_000, horizon, 1, generator=make_generator(0, "white"))
    coloured = colour(white, beta)
    variance = coloured.var(dim=0).flatten()
    torch.testing.assert_close(variance, torch.ones(horizon), atol=0.06, rtol=0.0)
    power = spectrum(beta, horizon)
    frequency = torch.arange(horizon // 2 + 1).clamp(min=1)
    torch.testing.assert_close(power / power[1], frequency ** (-beta), atol=0.0, rtol=0.06)


def test_colour_without_exponent_or_without_time_is_white() -> None:
    white = torch.randn(2, 6, 3, generator=make_generator(0, "white"))
    assert colour(white, 0.0) is white
    assert colour(white[:, :1], 2.0).equal(white[:, :1])


def test_only_icem_colours() -> None:
    same = {"horizon": 4, "iterations": 2, "num_samples": 10, "num_elites": 3, "num_prior": 2}
    plain, icem = draw(CemConfig(**same)), draw(IcemConfig(**same, noise_beta=2.0))
    assert draw().candidates.equal(plain.candidates)
    torch.testing.assert_close(icem.candidates, colour(plain.candidates, 2.0))
    assert icem.prior.equal(plain.prior)


def test_empty_plan_is_valid_nowhere() -> None:
    plan = empty_plan(CFG, batch=2, action_dim=3, device=torch.device("cpu"))
    assert not plan.valid.any()
    assert plan.mean.shape == (2, 4, 3)
    assert plan.elites.shape == (2, 3, 4, 3)
    assert (plan.std == CFG.max_std).all()
