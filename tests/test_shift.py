"""Random shifts against loops that pad and cut."""

import numpy as np
import torch

from wmrobot.learn.shift import _by_index, random_shift

MOST = 3


def slow(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """One picture (C, height, width), padded by its border and cut out again."""
    _, height, width = picture.shape
    padded = np.pad(picture, [(0, 0), (MOST, MOST), (MOST, MOST)], mode="edge")
    row, column = row + MOST, column + MOST
    return padded[:, row : row + height, column : column + width]


def test_every_offset_is_a_pad_and_a_cut() -> None:
    draw = np.random.default_rng(0)
    offsets = range(-MOST, MOST + 1)
    size = len(offsets)
    picture = draw.integers(256, size=(size, size, 6, 8, 10), dtype=np.uint8)
    offset = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1)
    found = random_shift(torch.from_numpy(picture), torch.from_numpy(offset))
    assert found.dtype == torch.uint8
    flat = torch.from_numpy(picture).flatten(0, 1), torch.from_numpy(offset).flatten(0, 1)
    assert _by_index(*flat).equal(found.flatten(0, 1))
    for i, down in enumerate(offsets):
        for j, right in enumerate(offsets):
            np.testing.assert_array_equal(found[i, j].numpy(), slow(picture[i, j], down, right))


def test_no_offset_changes_nothing() -> None:
    picture = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8)
    assert random_shift(picture, torch.zeros(2, 2, dtype=torch.int64)).equal(picture)


def test_frames_of_one_stack_move_together() -> None:
    frame = torch.randint(
        256, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    shifted = random_shift(frame.expand(1, 3, 8, 8), torch.tensor([[-3, 2]]))
    assert (shifted == shifted[:, :1]).all()
