"""Mish with one exponential, and simplicial normalisation."""

from typing import Any

import torch
from torch import Tensor

_EXP_BOUND = 80.0  # the sum of a group's exponentials stays finite in fp32
_LINEAR_ABOVE = 20.0  # mish(x) = x to fp32 precision there, and exp(2 x) is still finite


class _Mish(torch.autograd.Function):
    """`x - x / (h + 1)` with `h = e^x (e^x + 2) / 2`, the derivative computed on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        e = x.clamp(max=_LINEAR_ABOVE).exp_()
        rest = torch.addcmul(e, e, e, value=0.5).add_(1).reciprocal_()  # 1 - tanh(softplus(x))
        # 1 - rest + x e (e + 1) rest^2
        slope = torch.addcmul(e, e, e).mul_(rest).mul_(rest).mul_(x).sub_(rest).add_(1)
        ctx.save_for_backward(slope)
        return torch.addcmul(x, x, rest, value=-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return grads[0] * slope


def mish(x: Tensor) -> Tensor:
    """Mish, `x tanh(softplus(x))` (Misra 2019), with one exponential.

    Args:
        x: Any shape.
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain form, and an export needs it
        # min(x, 20), written so that no comparison stands before the exponential: g++ 12 makes code
        # of that which takes 2.4 times as long
        e = (x - (x - _LINEAR_ABOVE).relu()).exp()
        n = e * (e + 2)
        return x * (n / (n + 2))
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]
        return result
    # four passes, where torch's own takes 2.6 times as long; an infinite e leaves x as it is
    e = x.exp()
    e.addcmul_(e, e, value=0.5).add_(1)
    return torch.addcdiv(x, x, e, value=-1)


def simnorm(x: Tensor, group_dim: int) -> Tensor:
    """Simplicial normalisation (Lavoie et al. 2022): softmax over groups of the last axis.

    Args:
        x: (..., Z) with Z a multiple of `group_dim`.
        group_dim: Entries in one simplex.

    Returns:
        (..., Z) non-negative, each group summing to 1.
    """
    # torch's softmax over an axis of 8 takes 8 times as long on a CPU; the input is layer-normed
    # and stays far from the bounds
    e = x.clamp(-_EXP_BOUND, _EXP_BOUND).exp()
    e = e.reshape(*x.shape[:-1], x.shape[-1] // group_dim, group_dim)
    if torch.compiler.is_dynamo_compiling():
        # a compiler adds slices of all groups side by side, and one group entry by entry: 3.8 times
        total = e[..., 0]
        for entry in range(1, group_dim):
            total = total + e[..., entry]
        return (e / total.unsqueeze(-1)).flatten(-2)
    return (e / e.sum(dim=-1, keepdim=True)).flatten(-2)
