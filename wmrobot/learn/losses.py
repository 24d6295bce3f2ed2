"""The losses of TD-MPC2 (Hansen et al. 2024, equations 3 to 6), over rollouts in latent space.

Gradients are taken here, beside their losses: compiled, a loss and its gradients are one program,
in which nothing is kept for a backward pass that comes later (decision 0067).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from wmrobot.data.batch import Batch
from wmrobot.data.plans import PlannedAction
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.state_head import StateHead
from wmrobot.model.world_model import PriorSample, ValueEnsemble, WorldModel


class UpdateNoise(NamedTuple):
    """All the randomness of one update.

    Attributes:
        target: (H, B, A) standard normal, for the prior's action in the target.
        prior: (H + 1, B, A) standard normal, for the prior's own loss.
        target_heads: (2,) value heads whose minimum is the target.
        prior_heads: (2,) value heads whose mean the prior climbs.
        dropout: (Q, H * B, width) multiplies the value's first layer, or None without dropout.
        prior_dropout: (2, (H + 1) * B, width) the same for the prior's loss.
        shift: By picture modality (H + 1, B, 2) random shift [pixels], or empty for none.
    """

    target: Tensor
    prior: Tensor
    target_heads: Tensor
    prior_heads: Tensor
    dropout: Tensor | None
    prior_dropout: Tensor | None
    shift: dict[str, Tensor]


class ModelLosses(NamedTuple):
    """Scalars to lower, and the rollout they came from."""

    total: Tensor
    consistency: Tensor
    reward: Tensor
    value: Tensor
    termination: Tensor
    state: Tensor
    zs: Tensor  # (H + 1, B, Z)


class PriorLosses(NamedTuple):
    """The scalar to lower, and scalars to watch."""

    total: Tensor
    entropy: Tensor  # of the squashed action
    value_mean: Tensor  # of the value or fit that is climbed
    scale: Tensor  # running range of values, moved


Gradients = tuple[Tensor, ...]
_SCALE_PERCENTILES = (0.05, 0.95)


def td_target(
    model: WorldModel,
    target_values: ValueEnsemble,
    next_z: Tensor,
    batch: Batch,
    noise: UpdateNoise,
    td_lambda: float,
) -> Tensor:
    """Value targets (H, B) by real rewards and the lower of two target heads at the prior's action.

    The target of decision t is `r_t + gamma ((1 - lambda) V_{t+1} + lambda target_{t+1})`, the
    lambda-return of Sutton 1988 cut at the window's end. With lambda = 0 it is TD-MPC2's one-step
    target; with 1 all rewards of the window count before the first value.
    """
    action = model.propose(next_z, noise.target)
    logits = target_values(next_z, action, noise.target_heads)
    value = model.two_hot.decode(logits).amin(dim=0)
    discount = model.discount * (1 - batch.terminated)
    targets = [batch.reward[-1] + discount[-1] * value[-1]]
    for t in range(len(value) - 2, -1, -1):
        weight = td_lambda * batch.mask[t + 1]  # nothing follows where the episode has ended
        follows = torch.lerp(value[t], targets[0], weight)
        targets.insert(0, batch.reward[t] + discount[t] * follows)
    return torch.stack(targets)


def model_losses(
    model: WorldModel,
    target_values: ValueEnsemble,
    batch: Batch,
    noise: UpdateNoise,
    cfg: LearnerConfig,
    state_head: StateHead | None = None,
) -> ModelLosses:
    """Consistency, reward, value and termination along the rollout of the batch's own actions.

    With a `state_head` the state too, from every latent of the rollout.
    """
    horizon = batch.action.shape[0]
    with torch.no_grad():
        next_z = model.encode({name: value[1:] for name, value in batch.obs.items()})
        target = td_target(model, target_values, next_z, batch, noise, cfg.td_lambda)

    zs = [model.encode({name: value[0] for name, value in batch.obs.items()})]
    reward_logits = []
    for t in range(horizon):
        z, logits = model.predict(zs[-1], batch.action[t])
        zs.append(z)
        reward_logits.append(logits)
    rollout = torch.stack(zs)

    weight = step_weights(cfg.rho, batch.mask)
    consistency = (weight * (rollout[1:] - next_z).square().mean(dim=-1)).sum()
    reward = (weight * model.two_hot.loss(torch.stack(reward_logits), batch.reward)).sum()
    logits = model.values(rollout[:-1], batch.action, dropout_mask=noise.dropout)
    value = (weight * model.two_hot.loss(logits, target.expand(logits.shape[:-1]))).sum(dim=(1, 2))
    termination = torch.zeros_like(consistency)
    if model.episodic:
        error = functional.binary_cross_entropy_with_logits(
            model.termination_logit(rollout[1:]), batch.terminated, reduction="none"
        )
        termination = (step_weights(1.0, batch.mask) * error).sum()
    state = torch.zeros_like(consistency)
    if state_head is not None:
        seen = step_weights(cfg.rho, latent_mask(batch.mask))
        state = (seen * state_head(rollout, batch.obs["state"])).sum()
    value = value.mean()
    total = (
        cfg.consistency_coef * consistency
        + cfg.reward_coef * reward
        + cfg.value_coef * value
        + cfg.termination_coef * termination
        + cfg.state_coef * state
    )
    return ModelLosses(total, consistency, reward, value, termination, state, rollout.detach())


def model_gradients(
    model: WorldModel,
    target_values: ValueEnsemble,
    params: Sequence[Tensor],
    batch: Batch,
    noise: UpdateNoise,
    cfg: LearnerConfig,
    state_head: StateHead | None = None,
) -> tuple[ModelLosses, Gradients]:
    """`model_losses`, and the gradients of their total by `params`."""
    losses = model_losses(model, target_values, batch, noise, cfg, state_head)
    gradients = torch.autograd.grad(losses.total, params)
    return ModelLosses(*(each.detach() for each in losses)), gradients


def prior_gradients(
    model: WorldModel,
    params: Sequence[Tensor],
    zs: Tensor,
    batch: Batch,
    noise: UpdateNoise,
    scale: Tensor,
    cfg: LearnerConfig,
) -> tuple[PriorLosses, Gradients]:
    """`prior_loss` at the latents zs (H + 1, B, Z), and its gradients by `params`.

    The prior climbs its values, or fits the plans of the batch, where there are any.
    """
    if batch.plan is None:
        sample, value = prior_values(model, zs, noise)
        mask = latent_mask(batch.mask)
        # 5-to-95-percentile range of values, at least 1; a copy of the percentiles from the host
        # would wait for what a GPU has still to do
        percentiles = torch.linspace(*_SCALE_PERCENTILES, 2, device=zs.device)
        low, high = torch.quantile(value[0].detach(), percentiles)
        scale = scale.lerp((high - low).clamp(min=1.0), cfg.tau)
    else:  # in nats, which need no scale
        sample, value = prior_fit(model, zs[:-1], batch.plan, noise)
        mask = batch.mask * batch.plan.known
    loss = prior_loss(sample, value, mask, scale, cfg)
    gradients = torch.autograd.grad(loss, params)
    value_mean = (value.detach() * mask).sum() / mask.sum().clamp(min=1)
    entropy = -sample.log_prob.detach().mean()
    return PriorLosses(loss.detach(), entropy, value_mean, scale), gradients


def step_weights(rho: float, mask: Tensor) -> Tensor:
    """Weights (H, B) of a mean over the decisions that happened, step t counting rho^t."""
    powers = rho ** torch.arange(mask.shape[0], device=mask.device, dtype=mask.dtype)
    return powers.unsqueeze(1) * mask / mask.sum().clamp(min=1)


def latent_mask(mask: Tensor) -> Tensor:
    """What counts among the latents (H + 1, B): the first, and each that a decision led to."""
    return torch.cat([torch.ones_like(mask[:1]), mask])


def prior_values(model: WorldModel, zs: Tensor, noise: UpdateNoise) -> tuple[PriorSample, Tensor]:
    """The prior's actions at zs (H + 1, B, Z) and their values (H + 1, B), mean of two heads."""
    sample = model.sample_prior(zs, noise.prior)
    logits = model.values(zs, sample.action, noise.prior_heads, noise.prior_dropout)
    return sample, model.two_hot.decode(logits).mean(dim=0)


def prior_fit(
    model: WorldModel, zs: Tensor, plan: PlannedAction, noise: UpdateNoise
) -> tuple[PriorSample, Tensor]:
    """The prior's actions at zs (H, B, Z) and how well they fit the plans there (H, B).

    The fit is `log N(a; plan) - log prior(a)`: minus its mean is the divergence KL(prior || plan)
    as in Wang et al. 2025, and no action is ever taken through tanh's inverse. It means nothing
    where no plan is known.
    """
    sample = model.sample_prior(zs, noise.prior[: len(zs)])
    std = plan.std.where(plan.known.unsqueeze(-1), 1.0)
    error = (sample.action - plan.mean) / std
    density = -(0.5 * error.square() + std.log() + 0.5 * math.log(2 * math.pi)).sum(dim=-1)
    return sample, density - sample.log_prob


def prior_loss(
    sample: PriorSample, value: Tensor, mask: Tensor, scale: Tensor, cfg: LearnerConfig
) -> Tensor:
    """The prior climbs the value and keeps its entropy.

    The entropy is that of the squashed action, as in the paper. The official code has since taken
    the one before squashing, which lets the mean run into tanh's flat ends, where it stays.

    Args:
        sample: Actions of the prior.
        value: (T, B) their values, from heads that must not be trained here, or their fit to plans.
        mask: (T, B) what counts: nothing after an episode's end, nor where no plan is known.
        scale: () running range of values.
        cfg: Weights.
    """
    weight = step_weights(cfg.rho, mask)
    return -(weight * (value / scale - cfg.entropy_coef * sample.log_prob)).sum()
