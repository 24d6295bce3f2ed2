"""Scalars as distributions over bins: symlog, two-hot (Hafner et al. 2023; Hansen et al. 2024)."""

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """Signed logarithm, `sign(x) log(1 + |x|)`."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """M bins, evenly spaced over [vmin, vmax] in symlog space.

    Args:
        num_bins: M, at least 2.
        vmin: Symlog of the lowest scalar that can be told.
        vmax: Symlog of the highest.
    """

    bins: Tensor

    def __init__(self, num_bins: int, vmin: float, vmax: float) -> None:
        super().__init__()
        self.vmin, self.vmax = vmin, vmax
        self.width = (vmax - vmin) / (num_bins - 1)
        self.register_buffer("bins", torch.linspace(vmin, vmax, num_bins), persistent=False)

    def decode(self, logits: Tensor) -> Tensor:
        """Expected scalar (...,) of logits (..., M)."""
        return symexp(logits.softmax(dim=-1) @ self.bins)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy (...,) of logits (..., M) against the two-hot code of `target` (...,)."""
        position = (symlog(target).clamp(self.vmin, self.vmax) - self.vmin) / self.width
        # clamped as whole numbers: a NaN must come out as a NaN loss, not as an index out of range
        index = position.floor().long().clamp(0, self.bins.numel() - 2)
        upper_weight = position - index
        index = index.unsqueeze(-1)
        pair = torch.cat([index, index + 1], dim=-1)  # (..., 2) the two bins that share the mass
        log_probs = logits.log_softmax(dim=-1).gather(-1, pair)
        return torch.lerp(-log_probs[..., 0], -log_probs[..., 1], upper_weight)
