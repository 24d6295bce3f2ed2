"""TD-MPC2's 5M-parameter networks for states (Hansen et al. 2024), each its own module."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes and constants; the defaults are those of the published 5M model.

    Attributes:
        obs_dim: O.
        action_dim: A.
        latent_dim: Z.
        width: Of all hidden layers but the encoder's.
        enc_dim: Of the encoder's.
        num_q: Value heads.
        num_bins: M.
        limit: Symlog of the largest scalar that the bins can tell.
        group_dim: Entries of one simplex.
        dropout: Of the value heads' first layer.
        discount: Weight of the next decision.
    """

    obs_dim: int = 24
    action_dim: int = 6
    latent_dim: int = 512
    width: int = 512
    enc_dim: int = 256
    num_q: int = 5
    num_bins: int = 101
    limit: float = 10.0
    group_dim: int = 8
    dropout: float = 0.01
    discount: float = 0.99


class SimNorm(nn.Module):
    """Softmax over groups of the last axis."""

    def __init__(self, group_dim: int) -> None:
        super().__init__()
        self.group_dim = group_dim

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., Z)."""
        groups = x.reshape(*x.shape[:-1], -1, self.group_dim)
        return groups.softmax(dim=-1).reshape(x.shape)


def layer(in_dim: int, out_dim: int, activation: nn.Module, dropout: float = 0.0) -> nn.Sequential:
    """Linear, dropout, layer norm, activation."""
    parts: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
    if dropout:
        parts.append(nn.Dropout(dropout))
    return nn.Sequential(*parts, nn.LayerNorm(out_dim), activation)


def mlp(in_dim: int, width: int, last: nn.Module, dropout: float = 0.0) -> nn.Sequential:
    """Two hidden layers, then `last`."""
    return nn.Sequential(
        layer(in_dim, width, nn.Mish(), dropout), layer(width, width, nn.Mish()), last
    )


class Model(nn.Module):
    """Encoder, dynamics, reward, value heads and prior."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, z_dim, bins = sizes.width, sizes.latent_dim, sizes.num_bins
        both = z_dim + sizes.action_dim
        self.encoder = nn.Sequential(
            layer(sizes.obs_dim, sizes.enc_dim, nn.Mish()),
            layer(sizes.enc_dim, z_dim, SimNorm(sizes.group_dim)),
        )
        self.dynamics = mlp(both, width, layer(width, z_dim, SimNorm(sizes.group_dim)))
        self.reward = mlp(both, width, nn.Linear(width, bins))
        self.values = nn.ModuleList(
            mlp(both, width, nn.Linear(width, bins), sizes.dropout) for _ in range(sizes.num_q)
        )
        self.prior = mlp(z_dim, width, nn.Linear(width, 2 * sizes.action_dim))
        self.register_buffer("bins", torch.linspace(-sizes.limit, sizes.limit, bins))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """Next latent (..., Z)."""
        return self.dynamics(torch.cat([z, action], dim=-1))

    def reward_logits(self, z: Tensor, action: Tensor) -> Tensor:
        """Logits (..., M)."""
        return self.reward(torch.cat([z, action], dim=-1))

    def value_logits(self, z: Tensor, action: Tensor, values: nn.Module | None = None) -> Tensor:
        """Logits (Q, ..., M) of all heads, of the model or of `values`."""
        joint = torch.cat([z, action], dim=-1)
        return torch.stack([head(joint) for head in values or self.values])

    def value(self, z: Tensor, action: Tensor) -> Tensor:
        """Mean (...,) of two heads drawn of all."""
        pair = torch.randperm(self.sizes.num_q)[:2]
        return self.scalar(self.value_logits(z, action)[pair]).mean(dim=0)

    def draw(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Action (..., A) of the prior and its log-density (...,)."""
        mean, raw = self.prior(z).chunk(2, dim=-1)
        log_std = -10 + 0.5 * 12 * (raw.tanh() + 1)
        eps = torch.randn_like(mean)
        log_prob = (-0.5 * eps.square() - log_std - 0.9189385).sum(dim=-1)
        action = (mean + eps * log_std.exp()).tanh()
        return action, log_prob - (1 - action.square() + 1e-6).log().sum(dim=-1)

    def scalar(self, logits: Tensor) -> Tensor:
        """Expected scalar (...,) of logits (..., M) over bins in symlog space."""
        x = (logits.softmax(dim=-1) * self.bins).sum(dim=-1)
        return x.sign() * (x.abs().exp() - 1)

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of logits (..., M) against the two-hot code of scalars (...,)."""
        limit, last = self.sizes.limit, self.sizes.num_bins - 1
        symlog = (target.sign() * target.abs().log1p()).clamp(-limit, limit)
        position = (symlog + limit) * last / (2 * limit)
        lower = position.floor().long().clamp(max=last - 1)
        share = (position - lower).unsqueeze(-1)
        code = functional.one_hot(lower, last + 1) * (1 - share)
        code = code + functional.one_hot(lower + 1, last + 1) * share
        return -(code * logits.log_softmax(dim=-1)).sum(dim=-1)
