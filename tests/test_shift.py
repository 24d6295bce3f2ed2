"""Random shifts against loops that pad and cut."""

import numpy as np
import torch

from wmrobot.learn.shift import MAX_SHIFT, _by_index, random_shift


def slow(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """One picture (C, height, width), padded by its border and cut out again."""
    _, height, width = picture.shape
    padded = np.pad(picture, [(0, 0), (MAX_SHIFT,) * 2, (MAX_SHIFT,) * 2], mode="edge")
    return padded[:, row : row + height, column : column + width]


def test_every_offset_is_a_pad_and_a_cut() -> None:
    draw = np.random.default_rng(0)
    size = 2 * MAX_SHIFT + 1
    picture = draw.integers(256, size=(size, size, 6, 8, 10), dtype=np.uint8)
    offset = np.stack(np.meshgrid(range(size), range(size), indexing="ij"), axis=-1)
    found = random_shift(torch.from_numpy(picture), torch.from_numpy(offset))
    assert found.dtype == torch.uint8
    flat = torch.from_numpy(picture).flatten(0, 1), torch.from_numpy(offset).flatten(0, 1)
    as_on_a_gpu = _by_index(flat[0], flat[1] - MAX_SHIFT)
    assert as_on_a_gpu.equal(found.flatten(0, 1))
    for i in range(size):
        for j in range(size):
            np.testing.assert_array_equal(found[i, j].numpy(), slow(picture[i, j], i, j))


def test_the_middle_offset_changes_nothing() -> None:
    picture = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8)
    assert random_shift(picture, torch.full((2, 2), MAX_SHIFT)).equal(picture)


def test_frames_of_one_stack_move_together() -> None:
    frame = torch.randint(
        256, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    shifted = random_shift(frame.expand(1, 3, 8, 8), torch.tensor([[0, 5]]))
    assert (shifted == shifted[:, :1]).all()
