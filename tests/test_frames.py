"""Frame stacks: oldest first, an episode's first frame repeated, rows on their own."""

import numpy as np
import pytest

from wmrobot.core.spec import Obs
from wmrobot.runtime.planning.frames import FrameStack


def picture(*values: int) -> Obs:
    """One 2x2 picture of one colour a row."""
    rows = np.array(values, dtype=np.uint8)[:, None, None, None]
    return {"rgb": np.tile(rows, (1, 1, 2, 2)), "state": np.zeros((len(values), 1), np.float32)}


def seen(obs: Obs) -> list[list[int]]:
    return obs["rgb"][:, :, 0, 0].tolist()  # type: ignore[no-any-return]


def test_newest_frames_oldest_first() -> None:
    stack = FrameStack(3)
    found = [seen(stack.push(picture(value))) for value in (1, 2, 3, 4)]
    assert found == [[[1, 1, 1]], [[1, 1, 2]], [[1, 2, 3]], [[2, 3, 4]]]


def test_colours_of_a_frame_stay_together() -> None:
    stack = FrameStack(2)
    first = np.arange(3 * 4, dtype=np.uint8).reshape(1, 3, 2, 2)
    stack.push({"rgb": first})
    found = stack.push({"rgb": first + 100})["rgb"]
    np.testing.assert_array_equal(found, np.concatenate([first, first + 100], axis=1))


@pytest.mark.parametrize("rows", [np.array([1]), np.array([False, True, False])])
def test_a_reset_row_starts_afresh_and_the_others_go_on(rows: np.ndarray) -> None:
    stack = FrameStack(3)
    stack.push(picture(1, 2, 3))
    stack.reset(rows)
    assert seen(stack.push(picture(4, 5, 6))) == [[1, 1, 4], [5, 5, 5], [3, 3, 6]]
    assert seen(stack.push(picture(7, 8, 9))) == [[1, 4, 7], [5, 5, 8], [3, 6, 9]]


def test_reset_of_all_forgets_all() -> None:
    stack = FrameStack(2)
    stack.push(picture(1, 2))
    stack.reset()
    assert seen(stack.push(picture(3))) == [[3, 3]]


def test_other_modalities_pass_through() -> None:
    stack = FrameStack(3)
    obs = picture(1)
    assert stack.push(obs)["state"] is obs["state"]
    state = {"state": np.zeros((2, 1), np.float32)}
    assert stack.push(state)["state"] is state["state"]


def test_state_is_a_snapshot() -> None:
    stack = FrameStack(3)
    stack.push(picture(1, 2))
    state = stack.state()
    stack.reset(np.array([0]))
    stack.push(picture(3, 4))
    for _ in range(2):  # loading it leaves it as it is
        again = FrameStack(3)
        again.load_state(state)
        assert seen(again.push(picture(5, 6))) == [[1, 1, 5], [2, 2, 6]]
        again.reset(np.array([0, 1]))
    empty = FrameStack(3)
    empty.load_state(FrameStack(3).state())
    assert seen(empty.push(picture(7))) == [[7, 7, 7]]
