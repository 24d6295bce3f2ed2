"""Matrix products of layers, in a precision of their own, and of some layers out of a stack."""

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]

_LIBRARY = torch.library.Library("wmrobot", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "chosen_products(Tensor x, Tensor weight, Tensor heads) -> Tensor"
)


def linear(x: Tensor, weight: Tensor, bias: Tensor, precision: Precision = "fp32") -> Tensor:
    """`x @ weight.T + bias`, for a weight (out, in); see `stacked_linear`."""
    if _rounds(precision):
        low = torch.nn.functional.linear(x.bfloat16(), weight.bfloat16())
        return low.to(x.dtype) + bias
    if torch.compiler.is_dynamo_compiling():
        return torch.nn.functional.linear(x, weight) + bias  # see `stacked_linear`
    return torch.nn.functional.linear(x, weight, bias)


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int | tuple[int, ...],
    precision: Precision = "fp32",
    centre: Tensor | None = None,
) -> Tensor:
    """Convolve pictures, without padding.

    Args:
        x: (n, in, height, width), of any type.
        weight: (out, in, kernel, kernel).
        bias: (out,).
        stride: Of rows and columns.
        precision: `bf16` multiplies, and returns, bf16.
        centre: (in, height, width) to take off x first; of whole numbers from 0 to 255 on both
            sides bf16 holds the difference exactly.

    Returns:
        (n, out, height', width') in the precision of the product.
    """
    dtype = torch.bfloat16 if _rounds(precision) else weight.dtype
    # channels last, or a CPU's convolution with few channels takes twice as long
    x = x.to(dtype, memory_format=torch.channels_last)
    if centre is not None:
        x = x - centre.to(dtype)
    return torch.nn.functional.conv2d(x, weight.to(dtype), bias.to(dtype), stride)


def stacked_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    heads: Tensor | None = None,
    precision: Precision = "fp32",
) -> Tensor:
    """Linear layers out of a stack, side by side.

    Args:
        x: (K, n, in), or (n, in) shared by all.
        weight: (G, in, out) of the whole stack.
        bias: (G, 1, out), or None for none.
        heads: (K,) indices of the layers to use; None uses all G.
        precision: `bf16` rounds both factors, and the product, to 8 bits of mantissa; it is summed,
            and all else computed, in fp32.

    Returns:
        (K, n, out) in the precision of x.
    """
    factor = x
    if _rounds(precision):
        factor, weight = x.bfloat16(), weight.bfloat16()
    if bias is not None and heads is not None:
        bias = bias[heads]
    compiling = torch.compiler.is_dynamo_compiling()
    if heads is not None and compiling and not torch.is_grad_enabled():
        # without a copy of the chosen weights: 0.58 instead of 0.93 ms for 512 rows, bf16, `base`
        product: Tensor = torch.ops.wmrobot.chosen_products(factor, weight, heads)
    else:
        weight = weight if heads is None else weight[heads]
        if factor.dim() == 2:
            factor = factor.expand(weight.shape[0], *factor.shape)
        # a compiler adds the bias in the kernel that follows; otherwise it is copied to where the
        # product is added to it, which takes less than a pass of its own
        if bias is not None and factor.dtype == x.dtype and not compiling:
            return torch.baddbmm(bias, factor, weight)
        product = torch.bmm(factor, weight)
    product = product.to(x.dtype)
    return product if bias is None else product + bias


def _rounds(precision: Precision) -> bool:
    """Whether to multiply in bf16; an exported graph always has the weights' own precision."""
    return precision == "bf16" and not torch.compiler.is_exporting()


def _chosen_products(x: Tensor, weight: Tensor, heads: Tensor) -> Tensor:
    """Products (K, n, out) with layers `heads` (K,) out of weights (G, in, out)."""
    result = x.new_empty(len(heads), x.shape[-2], weight.shape[-1])
    for row, head in enumerate(heads.tolist()):
        torch.mm(x if x.dim() == 2 else x[row], weight[head], out=result[row])
    return result


def _chosen_products_shape(x: Tensor, weight: Tensor, heads: Tensor) -> Tensor:
    return x.new_empty(heads.shape[0], x.shape[-2], weight.shape[-1])


def _chosen_products_on_gpu(x: Tensor, weight: Tensor, heads: Tensor) -> Tensor:
    """The same without reading `heads` on the host."""
    return torch.matmul(x, weight[heads])


_LIBRARY.impl("chosen_products", _chosen_products, "CPU")  # type: ignore[no-untyped-call]
_LIBRARY.impl("chosen_products", _chosen_products_on_gpu, "CUDA")  # type: ignore[no-untyped-call]
torch.library.register_fake("wmrobot::chosen_products", _chosen_products_shape, lib=_LIBRARY)
