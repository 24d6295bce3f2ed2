"""The one loop that CEM, iCEM and MPPI share: imagine candidates, keep the best, refine."""

from collections.abc import Callable

import torch
from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import SearchConfig

Weigh = Callable[[Tensor], Tensor]
_LOWEST = -1e30  # stands for minus infinity where differences are taken


def score(
    model: LatentModel, z: Tensor, actions: Tensor, terminal: Tensor, heads: Tensor
) -> Tensor:
    """Return of each candidate: H imagined rewards, then the model's own value.

    Args:
        model: World model to imagine with.
        z: (B, Z) latents to start from.
        actions: (B, N, H, A) candidates in [-1, 1].
        terminal: (B, N, A) noise of the prior's action after the last one.
        heads: (2,) value heads to average.

    Returns:
        (B, N) estimated returns.
    """
    _, num_candidates, horizon, _ = actions.shape
    z = z.unsqueeze(1).expand(-1, num_candidates, -1)  # (B, N, Z)
    total = actions.new_zeros(actions.shape[:2])
    weight = torch.ones_like(total)
    for t in range(horizon):
        z, reward, continuation = model.step(z, actions[:, :, t])
        total = total + weight * reward
        weight = weight * continuation
    return total + weight * model.value(z, model.propose(z, terminal), heads)


def propose_sequences(model: LatentModel, z: Tensor, noise: Tensor) -> Tensor:
    """Action sequences (B, P, H, A) of the policy prior from z (B, Z), `noise` of that shape."""
    _, num_prior, horizon, _ = noise.shape
    z = z.unsqueeze(1).expand(-1, num_prior, -1)
    actions = []
    for t in range(horizon):
        actions.append(model.propose(z, noise[:, :, t]))
        if t < horizon - 1:
            z, _, _ = model.step(z, actions[-1])
    return torch.stack(actions, dim=2)


def shift(sequence: Tensor) -> Tensor:
    """The same actions (..., H, A) one decision later; the last one is unknown and zero."""
    return torch.cat([sequence[..., 1:, :], torch.zeros_like(sequence[..., :1, :])], dim=-2)


def search(
    model: LatentModel,
    z: Tensor,
    warm_start: Plan,
    noise: PlanNoise,
    cfg: SearchConfig,
    weigh: Weigh,
    num_kept: int = 0,
) -> Plan:
    """Refine action sequences for B robots. Rows never mix.

    Args:
        model: World model to imagine with.
        z: (B, Z) latents to start from.
        warm_start: The plan of the last tick, not yet shifted; rows that are not valid start from
            zero.
        noise: Drawn for this tick.
        cfg: Sizes.
        weigh: (B, K) returns of the elites, best first -> (B, K) weights, any positive scale.
        num_kept: Best elites that compete again in the next round (and came from the last plan).

    Returns:
        The new plan. A candidate whose return is not finite counts as minus infinity; where
        `num_invalid` equals N the model predicted nothing finite and the plan must not be used.
    """
    start = warm_start.valid[:, None, None]
    mean = torch.where(start, shift(warm_start.mean), 0.0)
    std = torch.full_like(mean, cfg.max_std)
    fixed = propose_sequences(model, z, noise.prior)
    kept = shift(warm_start.elites[:, :num_kept])
    kept = torch.where(start.unsqueeze(-1), kept, mean.unsqueeze(1))

    for i in range(noise.candidates.shape[0]):
        drawn = noise.candidates[i, :, : noise.candidates.shape[2] - num_kept]
        drawn = (mean.unsqueeze(1) + std.unsqueeze(1) * drawn).clamp(-1, 1)
        candidates = torch.cat([fixed, kept, drawn], dim=1)  # (B, N, H, A)
        returns = score(model, z, candidates, noise.terminal, noise.heads[i])
        finite = returns.isfinite()
        best = returns.where(finite, float("-inf")).topk(cfg.num_elites, dim=1)
        usable = best.values.isfinite()
        elites = candidates.gather(
            1, best.indices[:, :, None, None].expand(-1, -1, *mean.shape[1:])
        )
        elites = elites.where(usable[:, :, None, None], 0.0)
        elite_returns = best.values.clamp(min=_LOWEST)
        weights = weigh(elite_returns) * usable
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        column = weights[:, :, None, None]
        mean = (column * elites).sum(dim=1)
        std = (column * (elites - mean.unsqueeze(1)).square()).sum(dim=1).sqrt()
        std = std.clamp(cfg.min_std, cfg.max_std)
        kept = elites[:, :num_kept]

    # Gumbel-max: one elite, drawn with probability proportional to its weight
    chosen = (weights.clamp(min=1e-30).log() + noise.pick).argmax(dim=1)
    rows = torch.arange(len(chosen), device=chosen.device)
    return Plan(
        mean=mean,
        std=std,
        elites=elites,
        valid=torch.ones_like(warm_start.valid),
        action=elites[rows, chosen, 0],
        value=(weights * elite_returns).sum(dim=1),
        num_invalid=(~finite).sum(dim=1),
    )
