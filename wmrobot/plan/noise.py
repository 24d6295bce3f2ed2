"""All randomness of a search, drawn before it."""

import torch
from torch import Tensor

from wmrobot.core.types import Plan, PlanNoise
from wmrobot.plan.config import IcemConfig, PlannerConfig


def colour(white: Tensor, beta: float) -> Tensor:
    """White noise (..., H, A) with its power spectrum along H made 1 / f^beta, unit variance kept.

    After Timmer and Koenig 1995, as iCEM uses it; frequency 0 takes the weight of the next one.
    """
    horizon = white.shape[-2]
    if beta == 0 or horizon < 2:
        return white
    frequency = torch.fft.rfftfreq(horizon, device=white.device)
    frequency[0] = frequency[1]
    weight = frequency ** (-beta / 2)
    # each bin but the first (and the last, for an even horizon) stands for two of the full spectrum
    twice = torch.full_like(weight, 2.0)
    twice[0] = 1.0
    if horizon % 2 == 0:
        twice[-1] = 1.0
    weight = weight / ((twice * weight.square()).sum() / horizon).sqrt()
    spectrum = torch.fft.rfft(white, dim=-2) * weight.unsqueeze(-1)
    coloured: Tensor = torch.fft.irfft(spectrum, n=horizon, dim=-2)
    return coloured


def draw_noise(
    cfg: PlannerConfig, *, batch: int, action_dim: int, num_q: int, generator: torch.Generator
) -> PlanNoise:
    """Noise for one search of `batch` robots, on the generator's device.

    Args:
        cfg: Planner whose shapes to fill.
        batch: B.
        action_dim: A.
        num_q: Value heads that the model has.
        generator: Random stream.
    """
    device = generator.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    num_drawn = cfg.num_samples - cfg.num_prior
    candidates = normal(cfg.iterations, batch, num_drawn, cfg.horizon, action_dim)
    if isinstance(cfg, IcemConfig):
        candidates = colour(candidates, cfg.noise_beta)
    tiny = torch.finfo(torch.float32).tiny
    return PlanNoise(
        candidates=candidates,
        prior=normal(batch, cfg.num_prior, cfg.horizon, action_dim),
        terminal=normal(batch, cfg.num_samples, action_dim),
        heads=uniform(cfg.iterations, num_q).argsort(dim=1)[:, :2],
        pick=-(-uniform(batch, cfg.num_elites).clamp(min=tiny).log()).clamp(min=tiny).log(),
        execution=normal(batch, action_dim),
    )


def empty_plan(cfg: PlannerConfig, *, batch: int, action_dim: int, device: torch.device) -> Plan:
    """The plan of robots that have not planned yet: no row is valid."""
    sequence = torch.zeros(batch, cfg.horizon, action_dim, device=device)
    return Plan(
        mean=sequence,
        std=torch.full_like(sequence, cfg.max_std),
        elites=sequence.unsqueeze(1).repeat(1, cfg.num_elites, 1, 1),
        valid=torch.zeros(batch, dtype=torch.bool, device=device),
        action=sequence[:, 0],
        value=sequence.new_zeros(batch),
        num_invalid=torch.zeros(batch, dtype=torch.long, device=device),
    )
