"""Fully connected networks stacked along a first axis: one batched product a layer for all."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmrobot.nn.activations import mish
from wmrobot.nn.products import Precision, linear, stacked_linear

INIT_STD = 0.02
"""Of the truncated normal that TD-MPC2 (Hansen et al. 2024, appendix) starts linear layers from."""


class StackedLinear(nn.Module):
    """G linear layers with weights (G, in, out).

    Args:
        groups: G.
        in_dim: Width of the input.
        out_dim: Width of the output.
        zero: Start from zero weights, so that the output starts as uninformed.

    Attributes:
        precision: Of the products.
    """

    precision: Precision = "fp32"

    def __init__(self, groups: int, in_dim: int, out_dim: int, *, zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(groups, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(groups, 1, out_dim))
        if not zero:
            nn.init.trunc_normal_(self.weight, std=INIT_STD)

    def forward(self, x: Tensor, heads: Tensor | None = None) -> Tensor:
        """Map (K, n, in), or (n, in) shared by all, to (K, n, out).

        Args:
            x: Input, one block for each chosen layer or one for all.
            heads: (K,) indices of the layers to use; None uses all G.
        """
        return stacked_linear(x, self.weight, self.bias, heads, self.precision)

    def joint(self, first: Tensor, second: Tensor, heads: Tensor | None = None) -> Tensor:
        """Map [first, second], joined along their last axis, to (K, n, out).

        Args:
            first: (..., in_1), leading axes broadcast against those of `second`.
            second: (..., in_2), with as many of them.
            heads: As for `forward`.

        Returns:
            (K, n, out), n the number of rows after broadcasting.
        """
        if first.shape[:-1] == second.shape[:-1]:
            x = torch.cat([first, second], dim=-1)
            return self(x.reshape(-1, x.shape[-1]), heads)  # type: ignore[no-any-return]
        assert first.dim() == second.dim(), "the stack's axis would meet one of the longer's"
        # Rows of `first` that many rows of `second` share are multiplied once: 12% of the
        # operations of a `base` plan, whose candidates all start from one latent.
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        split = first.shape[-1]
        parts = []
        for x, part in ((first, weight[:, :split]), (second, weight[:, split:])):
            rows = x.reshape(-1, x.shape[-1])
            product = stacked_linear(rows, part, None, heads, self.precision)
            parts.append(product.reshape(len(product), *x.shape[:-1], product.shape[-1]))
        total = parts[0] + parts[1]
        return total.flatten(1, -2) + (bias if heads is None else bias[heads])


class StackedNormedLinear(nn.Module):
    """G layers of linear, dropout, layer norm and Mish, TD-MPC2's building block."""

    def __init__(self, groups: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = StackedLinear(groups, in_dim, out_dim)
        self.norm_weight = nn.Parameter(torch.ones(groups, 1, out_dim))
        self.norm_bias = nn.Parameter(torch.zeros(groups, 1, out_dim))

    def forward(self, x: Tensor, heads: Tensor | None = None) -> Tensor:
        """As `StackedLinear`."""
        return self.activate(self.linear(x, heads), heads)

    def activate(
        self, x: Tensor, heads: Tensor | None = None, dropout_mask: Tensor | None = None
    ) -> Tensor:
        """What follows the product (K, n, out); `dropout_mask` of its shape multiplies it first."""
        if dropout_mask is not None:
            x = x * dropout_mask
        weight: Tensor = self.norm_weight
        bias: Tensor = self.norm_bias
        if heads is not None:
            weight, bias = weight[heads], bias[heads]
        x = functional.layer_norm(x, x.shape[-1:])
        return mish(torch.addcmul(bias, x, weight))


class StackedBody(nn.Module):
    """G bodies of two normed layers each, on latents and actions -> (K, n, width)."""

    def __init__(self, groups: int, in_dim: int, width: int) -> None:
        super().__init__()
        self.first = StackedNormedLinear(groups, in_dim, width)
        self.second = StackedNormedLinear(groups, width, width)

    def forward(
        self,
        z: Tensor,
        action: Tensor,
        heads: Tensor | None = None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """Map z (..., Z) and action (..., A), which broadcast, to (K, n, width).

        `dropout_mask` (K, n, width) acts in the first layer only, as in TD-MPC2.
        """
        x = self.first.linear.joint(z, action, heads)
        x = self.first.activate(x, heads, dropout_mask)
        return self.second(x, heads)  # type: ignore[no-any-return]


class Linear(nn.Linear):
    """A linear layer.

    Attributes:
        precision: Of the product.
    """

    precision: Precision = "fp32"

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return linear(x, self.weight, self.bias, self.precision)


def make_linear(in_dim: int, out_dim: int, *, zero: bool = False) -> Linear:
    """A linear layer started as TD-MPC2 starts it: truncated normal or zero weights, zero bias."""
    layer = Linear(in_dim, out_dim)
    nn.init.zeros_(layer.bias)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.trunc_normal_(layer.weight, std=INIT_STD)
    return layer


class NormedLinear(nn.Module):
    """Linear, layer norm, then Mish (or nothing, where another activation follows)."""

    def __init__(self, in_dim: int, out_dim: int, *, activate: bool = True) -> None:
        super().__init__()
        self.linear = make_linear(in_dim, out_dim)
        self.norm = nn.LayerNorm(out_dim)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        x = self.norm(self.linear(x))
        return mish(x) if self.activate else x
