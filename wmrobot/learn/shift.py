"""Random shift of pictures (Yarats et al. 2021), with whole pixels."""

import torch
from torch import Tensor

MAX_SHIFT = 3  # pixels, as TD-MPC2 uses for 64x64


def random_shift(picture: Tensor, offset: Tensor) -> Tensor:
    """Shift each picture, its border repeated.

    Args:
        picture: (..., C, height, width) uint8.
        offset: (..., 2) from 0 to 2 MAX_SHIFT, of rows and columns; MAX_SHIFT leaves the picture
            where it is. All frames of one stack move together.

    Returns:
        Same shape and dtype.
    """
    height, width = picture.shape[-2:]
    flat = picture.reshape(-1, *picture.shape[-3:])
    offset = offset.reshape(-1, 2) - MAX_SHIFT
    rows = offset[:, :1] + torch.arange(height, device=picture.device)  # (n, height)
    columns = offset[:, 1:] + torch.arange(width, device=picture.device)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = torch.arange(len(flat), device=picture.device)[:, None, None]
    shifted = flat[index, :, rows[:, :, None], columns[:, None, :]]  # (n, height, width, C)
    return shifted.movedim(-1, 1).reshape(picture.shape)
