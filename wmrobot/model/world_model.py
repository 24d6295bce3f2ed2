"""The learned world model: encoder, latent dynamics, reward, value ensemble, policy prior.

After TD-MPC2 (Hansen, Su, Wang 2024, "TD-MPC2: Scalable, Robust World Models for Continuous
Control", section 3). Dynamics and reward read the same input, so their bodies are one stack of two
and cost one product a layer.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wmrobot.model.config import ModelConfig
from wmrobot.model.encoder import Encoder
from wmrobot.nn.activations import simnorm
from wmrobot.nn.stacked import Linear, NormedLinear, StackedBody, StackedLinear, make_linear
from wmrobot.nn.twohot import TwoHot


class PriorSample(NamedTuple):
    """A draw from the policy prior: action (..., A) and log-density (...,) after squashing."""

    action: Tensor
    log_prob: Tensor


class ValueEnsemble(nn.Module):
    """Q value heads over (z, action), each a distribution over M bins."""

    def __init__(self, cfg: ModelConfig, action_dim: int) -> None:
        super().__init__()
        self.body = StackedBody(cfg.num_q, cfg.latent_dim + action_dim, cfg.mlp_dim)
        self.head = StackedLinear(cfg.num_q, cfg.mlp_dim, cfg.num_bins, zero=True)

    def forward(
        self,
        z: Tensor,
        action: Tensor,
        heads: Tensor | None = None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits (K, ..., M) of the chosen heads; `dropout_mask` is (K, n, width).

        z and action may broadcast.
        """
        logits: Tensor = self.head(self.body(z, action, heads, dropout_mask), heads)
        return logits.reshape(len(logits), *_broadcast(z, action), logits.shape[-1])


class WorldModel(nn.Module):
    """All that is learned about one task. Fulfils `core.types.LatentModel`.

    Args:
        cfg: Sizes and ranges.
        obs_shapes: Shape by modality, of one frame for pictures.
        action_dim: A.
        discount: Weight of the next decision's value.
        episodic: Learn termination too.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        *,
        obs_shapes: Mapping[str, tuple[int, ...]],
        action_dim: int,
        discount: float,
        episodic: bool,
    ) -> None:
        super().__init__()
        self.cfg, self.action_dim = cfg, action_dim
        self.discount, self.episodic = discount, episodic
        shapes = {
            name: shape if len(shape) == 1 else (shape[0] * cfg.frame_stack, *shape[1:])
            for name, shape in obs_shapes.items()
        }
        self.encoder = Encoder(cfg, shapes)
        self.transition = StackedBody(2, cfg.latent_dim + action_dim, cfg.mlp_dim)
        self.dynamics_head = NormedLinear(cfg.mlp_dim, cfg.latent_dim, activate=False)
        self.reward_head = make_linear(cfg.mlp_dim, cfg.num_bins, zero=True)
        self.termination = nn.Sequential(
            NormedLinear(cfg.latent_dim, cfg.mlp_dim),
            NormedLinear(cfg.mlp_dim, cfg.mlp_dim),
            make_linear(cfg.mlp_dim, 1),
        ) if episodic else None  # fmt: skip
        self.values = ValueEnsemble(cfg, action_dim)
        self.prior = nn.Sequential(
            NormedLinear(cfg.latent_dim, cfg.mlp_dim),
            NormedLinear(cfg.mlp_dim, cfg.mlp_dim),
            make_linear(cfg.mlp_dim, 2 * action_dim),
        )
        self.two_hot = TwoHot(cfg.num_bins, cfg.vmin, cfg.vmax)
        encoding = set(self.encoder.modules())
        for module in self.modules():
            if isinstance(module, Linear | StackedLinear) and module not in encoding:
                module.precision = cfg.precision

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Latent (..., Z) of observations by modality, frames stacked along C."""
        return self.encoder(obs)  # type: ignore[no-any-return]

    def predict(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Next latent (..., Z) and reward logits (..., M); z and action may broadcast."""
        dynamics, reward = self.transition(z, action).unbind(0)
        next_z = simnorm(self.dynamics_head(dynamics), self.cfg.simnorm_dim)
        logits: Tensor = self.reward_head(reward)
        lead = _broadcast(z, action)
        return next_z.reshape(*lead, z.shape[-1]), logits.reshape(*lead, logits.shape[-1])

    def termination_logit(self, z: Tensor) -> Tensor:
        """Logit (...,) that the decision which led to `z` ended the episode."""
        assert self.termination is not None, "asked a model without a termination head"
        return self.termination(z).squeeze(-1)  # type: ignore[no-any-return]

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `LatentModel.step`."""
        next_z, reward_logits = self.predict(z, action)
        reward = self.two_hot.decode(reward_logits)
        if self.termination is None:
            return next_z, reward, torch.full_like(reward, self.discount)
        goes_on = (self.termination_logit(next_z) <= 0).to(reward.dtype)
        return next_z, reward, goes_on * self.discount

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        """See `LatentModel.value`."""
        # a mean of all heads needs no choice among them, nor copies of their weights; an exported
        # graph keeps its input
        if heads is not None and len(heads) == self.cfg.num_q and not torch.compiler.is_exporting():
            heads = None
        return self.two_hot.decode(self.values(z, action, heads)).mean(dim=0)

    def prior_moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (..., A) of the prior before squashing."""
        mean, raw = self.prior(z).chunk(2, dim=-1)
        low, high = self.cfg.log_std_min, self.cfg.log_std_max
        return mean, low + 0.5 * (high - low) * (raw.tanh() + 1)

    def propose(self, z: Tensor, eps: Tensor) -> Tensor:
        """See `LatentModel.propose`."""
        mean, log_std = self.prior_moments(z)
        return torch.addcmul(mean, eps, log_std.exp()).tanh()

    def sample_prior(self, z: Tensor, eps: Tensor) -> PriorSample:
        """Action of the prior for standard normal `eps` (..., A), with its log-densities.

        The density after squashing follows Haarnoja et al. 2018 (appendix C), in the form that
        cannot overflow: `log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x))`.
        """
        mean, log_std = self.prior_moments(z)
        gaussian = (-0.5 * eps.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        before = torch.addcmul(mean, eps, log_std.exp())
        squash = 2 * (math.log(2) - before - nn.functional.softplus(-2 * before))
        return PriorSample(before.tanh(), gaussian - squash.sum(dim=-1))


def _broadcast(z: Tensor, action: Tensor) -> torch.Size:
    """Leading axes of what is computed from both."""
    lead: torch.Size = torch.broadcast_shapes(z.shape[:-1], action.shape[:-1])  # type: ignore[no-untyped-call]
    return lead
