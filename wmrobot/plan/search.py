"""The one loop that CEM, iCEM and MPPI share: imagine candidates, keep the best, refine.

`search` is `begin`, then `refine` once an iteration, then `choose`. They are separate so that a
planner under a deadline can stop between two iterations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import SearchConfig

_LOWEST = -1e30  # stands for minus infinity where differences are taken


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What tells one planner from another.

    Attributes:
        cfg: Sizes.
        weigh: (B, K) returns of the elites, best first -> (B, K) weights, any positive scale.
        num_kept: Best elites that compete again in the next iteration (and, of the last plan, in
            the first).
    """

    cfg: SearchConfig
    weigh: Callable[[Tensor], Tensor]
    num_kept: int = 0


class RoundNoise(NamedTuple):
    """The randomness of one iteration, out of `PlanNoise`.

    Attributes:
        candidates: (B, N - P, H, A).
        terminal: (B, N - P, A), without the proposals' own.
        heads: (2,).
    """

    candidates: Tensor
    terminal: Tensor
    heads: Tensor


class Imagined(NamedTuple):
    """Rollouts of action sequences in the model, all but the value of where they end.

    Attributes:
        actions: (B, N, H, A) what was done.
        earned: (B, N) discounted sum of the H rewards, and of the values on the way that count.
        weight: (B, N) what the value of the end counts.
        z: (B, N, Z) where they end.
        terminal_action: (B, N, A) the prior's action there.
    """

    actions: Tensor
    earned: Tensor
    weight: Tensor
    z: Tensor
    terminal_action: Tensor


class Search(NamedTuple):
    """A search between two iterations.

    Attributes:
        mean: (B, H, A) centre of the next candidates.
        std: (B, H, A) their spread.
        elites: (B, K, H, A) the best candidates so far, best first.
        returns: (B, K) their estimated returns, finite.
        weights: (B, K) what each counts in the mean; they sum to 1, or to 0 where none is usable.
        num_invalid: (B,) candidates of the last iteration that were not finite.
    """

    mean: Tensor
    std: Tensor
    elites: Tensor
    returns: Tensor
    weights: Tensor
    num_invalid: Tensor


def imagine(
    model: LatentModel,
    z: Tensor,
    act: Callable[[int, Tensor], Tensor],
    horizon: int,
    eps: Tensor,
    value_lambda: float,
) -> Imagined:
    """Roll action sequences out.

    Args:
        model: World model to imagine with.
        z: (B, Z) latents to start from.
        act: Decision t and the latents then, (B, N, Z) or (B, 1, Z), to actions (B, N, A).
        horizon: H.
        eps: (B, N, A) noise of the prior's action at the end.
        value_lambda: See `SearchConfig`.
    """
    # One row for all candidates of a robot: the model multiplies what they share only once.
    z = z.unsqueeze(1)
    earned, weight = eps.new_zeros(eps.shape[:2]), eps.new_ones(eps.shape[:2])
    actions = []
    for t in range(horizon):
        actions.append(act(t, z))
        if value_lambda < 1:
            # of all heads: a rollout of the prior is imagined before any round draws its two
            value = model.value(z, actions[-1], None)
            earned = earned + weight * (1 - value_lambda) * value
            weight = weight * value_lambda
        z, reward, continuation = model.step(z, actions[-1])
        earned = earned + weight * reward
        weight = weight * continuation
    z = z.expand(-1, eps.shape[1], -1)
    return Imagined(torch.stack(actions, dim=2), earned, weight, z, model.propose(z, eps))


def imagine_candidates(
    model: LatentModel, z: Tensor, actions: Tensor, eps: Tensor, value_lambda: float
) -> Imagined:
    """Roll out given actions (B, N, H, A); see `imagine`."""
    return imagine(model, z, lambda t, _: actions[:, :, t], actions.shape[2], eps, value_lambda)


def imagine_prior(
    model: LatentModel, z: Tensor, noise: Tensor, eps: Tensor, value_lambda: float
) -> Imagined:
    """Roll out what the policy prior does for `noise` (B, P, H, A); see `imagine`."""

    def act(t: int, z: Tensor) -> Tensor:
        return model.propose(z, noise[:, :, t])

    return imagine(model, z, act, noise.shape[2], eps, value_lambda)


def score(model: LatentModel, imagined: Imagined, heads: Tensor) -> Tensor:
    """Return of each rollout (B, N): imagined rewards, then the model's own value.

    Args:
        model: World model that imagined.
        imagined: Rollouts.
        heads: (2,) value heads to average.
    """
    value = model.value(imagined.z, imagined.terminal_action, heads)
    return imagined.earned + imagined.weight * value


def shift(sequence: Tensor) -> Tensor:
    """The same actions (..., H, A) one decision later; the last one is unknown and zero."""
    return torch.cat([sequence[..., 1:, :], torch.zeros_like(sequence[..., :1, :])], dim=-2)


def begin(warm_start: Plan, cfg: SearchConfig) -> Search:
    """Where the search starts: the last plan one decision later, or zero where none is valid."""
    valid = warm_start.valid[:, None, None]
    mean = torch.where(valid, shift(warm_start.mean), 0.0)
    elites = torch.where(valid.unsqueeze(-1), shift(warm_start.elites), mean.unsqueeze(1))
    returns = mean.new_zeros(elites.shape[:2])
    return Search(
        mean=mean,
        std=torch.full_like(mean, cfg.max_std),
        elites=elites,
        returns=returns,
        weights=torch.full_like(returns, 1 / cfg.num_elites),
        num_invalid=torch.zeros_like(warm_start.num_invalid),
    )


def refine(
    model: LatentModel,
    z: Tensor,
    found: Search,
    proposals: Imagined,
    noise: RoundNoise,
    rules: Rules,
) -> Search:
    """One iteration: draw candidates around the mean, imagine them, keep the best.

    Args:
        model: World model to imagine with.
        z: (B, Z) latents to start from.
        found: What the last iteration found.
        proposals: Of the prior: they compete in every iteration, but are imagined only once.
        noise: Of this iteration.
        rules: What tells one planner from another.

    Returns:
        What was found. A candidate whose return is not finite counts as minus infinity.
    """
    cfg = rules.cfg
    drawn = noise.candidates[:, : noise.candidates.shape[1] - rules.num_kept]
    drawn = (found.mean.unsqueeze(1) + found.std.unsqueeze(1) * drawn).clamp(-1, 1)
    actions = torch.cat([found.elites[:, : rules.num_kept], drawn], dim=1)
    imagined = imagine_candidates(model, z, actions, noise.terminal, cfg.value_lambda)
    imagined = Imagined(*(torch.cat(both, dim=1) for both in zip(proposals, imagined, strict=True)))
    returns = score(model, imagined, noise.heads)  # (B, N)
    finite = returns.isfinite()
    counts = finite
    if rules.num_kept:
        again = _again(actions[:, : rules.num_kept], proposals.actions)
        others = torch.zeros_like(finite)
        first, end = cfg.num_prior, cfg.num_prior + rules.num_kept
        counts = finite & ~torch.cat([others[:, :first], again, others[:, end:]], dim=1)
    best = returns.where(counts, float("-inf")).topk(cfg.num_elites, dim=1)
    usable = best.values.isfinite()
    index = best.indices[:, :, None, None].expand(-1, -1, *found.mean.shape[1:])
    elites = imagined.actions.gather(1, index).where(usable[:, :, None, None], 0.0)
    elite_returns = best.values.clamp(min=_LOWEST)
    weights = rules.weigh(elite_returns) * usable
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    column = weights[:, :, None, None]
    mean = (column * elites).sum(dim=1)
    std = (column * (elites - mean.unsqueeze(1)).square()).sum(dim=1).sqrt()
    std = std.clamp(cfg.min_std, cfg.max_std)
    return Search(mean, std, elites, elite_returns, weights, (~finite).sum(dim=1))


def _again(kept: Tensor, proposals: Tensor) -> Tensor:
    """Which kept elites (B, E, H, A) compete already: (B, E).

    As one of the proposals (B, P, H, A), or as an elite before it: a row that starts afresh keeps
    zero action E times.
    """
    competing = torch.cat([proposals, kept], dim=1)
    same = (kept.unsqueeze(2) == competing.unsqueeze(1)).flatten(3).all(dim=3)  # (B, E, P + E)
    return same.tril(proposals.shape[1] - 1).any(dim=2)


def choose(found: Search, pick: Tensor) -> Plan:
    """The plan that a search has come to; `pick` (B, K) is Gumbel noise.

    Where `num_invalid` equals N the model predicted nothing finite and the plan must not be used.
    """
    # Gumbel-max: one elite, drawn with probability proportional to its weight
    chosen = (found.weights.clamp(min=1e-30).log() + pick).argmax(dim=1)
    rows = torch.arange(chosen.shape[0], device=chosen.device)  # `len` would fix it in a trace
    return Plan(
        mean=found.mean,
        std=found.std,
        elites=found.elites,
        valid=torch.ones_like(chosen, dtype=torch.bool),
        action=found.elites[rows, chosen, 0],
        value=(found.weights * found.returns).sum(dim=1),
        num_invalid=found.num_invalid,
    )


def search(model: LatentModel, z: Tensor, warm_start: Plan, noise: PlanNoise, rules: Rules) -> Plan:
    """Refine action sequences for B robots. Rows never mix.

    Args:
        model: World model to imagine with.
        z: (B, Z) latents to start from.
        warm_start: The plan of the last tick, not yet shifted; rows that are not valid start from
            zero.
        noise: Drawn for this tick.
        rules: What tells one planner from another.
    """
    proposals = propose(model, z, noise, rules)
    return search_from(model, z, proposals, warm_start, noise, rules)


def propose(model: LatentModel, z: Tensor, noise: PlanNoise, rules: Rules) -> Imagined:
    """The prior's P rollouts of a tick, which take part in every round."""
    eps = noise.terminal[:, : noise.prior.shape[1]]
    return imagine_prior(model, z, noise.prior, eps, rules.cfg.value_lambda)


def search_from(
    model: LatentModel,
    z: Tensor,
    proposals: Imagined,
    warm_start: Plan,
    noise: PlanNoise,
    rules: Rules,
) -> Plan:
    """All rounds of `search`, beside what `propose` made."""
    found = begin(warm_start, rules.cfg)
    beyond = noise.terminal[:, noise.prior.shape[1] :]
    for i in range(noise.candidates.shape[0]):
        drawn = RoundNoise(noise.candidates[i], beyond, noise.heads[i])
        found = refine(model, z, found, proposals, drawn, rules)
    return choose(found, noise.pick)
