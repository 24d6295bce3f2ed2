"""TD-MPC2's MPPI: 6 rounds of 512 candidates over 3 decisions, every value head computed."""

import torch
from torch import Tensor

from benchmarks.reference.model import Model

HORIZON, ROUNDS, CANDIDATES, ELITES, PROPOSALS = 3, 6, 512, 64, 24
MIN_STD, MAX_STD, INVERSE_TEMPERATURE = 0.05, 2.0, 0.5


def evaluate(model: Model, z: Tensor, actions: Tensor) -> Tensor:
    """Return (N,) of action sequences (H, N, A) from latents (N, Z)."""
    total, discount = torch.zeros(len(z)), 1.0
    for action in actions:
        total = total + discount * model.scalar(model.reward_logits(z, action))
        z = model.next(z, action)
        discount *= model.sizes.discount
    action, _ = model.draw(z)
    return total + discount * model.value(z, action)


def propose(model: Model, z: Tensor) -> Tensor:
    """Action sequences (H, P, A) of the prior from one latent (1, Z)."""
    z, actions = z.repeat(PROPOSALS, 1), []
    for _ in range(HORIZON - 1):
        actions.append(model.draw(z)[0])
        z = model.next(z, actions[-1])
    return torch.stack([*actions, model.draw(z)[0]])


@torch.no_grad()
def plan(model: Model, obs: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Plan for one robot.

    Args:
        model: In evaluation mode.
        obs: (1, O) what it sees.
        last: (H, A) mean of its last plan.

    Returns:
        (A,) action to execute, and (H, A) mean of the plan.
    """
    z = model.encoder(obs)
    proposals = propose(model, z)
    z = z.repeat(CANDIDATES, 1)
    mean = torch.zeros(HORIZON, model.sizes.action_dim)
    if last is not None:
        mean[:-1] = last[1:]
    std = torch.full_like(mean, MAX_STD)
    for _ in range(ROUNDS):
        noise = torch.randn(HORIZON, CANDIDATES - PROPOSALS, model.sizes.action_dim)
        drawn = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(-1, 1)
        actions = torch.cat([proposals, drawn], dim=1)
        returns = evaluate(model, z, actions).nan_to_num(0.0)
        best = returns.topk(ELITES).indices
        elites = actions[:, best]
        weight = (INVERSE_TEMPERATURE * (returns[best] - returns[best].max())).exp()
        weight = weight / weight.sum()
        column = weight.reshape(1, -1, 1)
        mean = (column * elites).sum(dim=1)
        std = (column * (elites - mean.unsqueeze(1)).square()).sum(dim=1).sqrt()
        std = std.clamp(MIN_STD, MAX_STD)
    return elites[0, torch.multinomial(weight, 1)[0]], mean
