"""Pictures of the rows of a batch."""

from collections.abc import Sequence
from types import SimpleNamespace

import mujoco
import numpy as np
from mujoco.batch import Batch

from wmrobot.core.spec import Obs
from wmrobot.envs.pixels import PixelEnv


class Pictures:
    """Draws every row of a batch, all rows by one renderer where they share a model.

    Args:
        eyes: The environment of each row, which knows the cameras.
        own_models: Whether resets change the rows' models, so that each needs its own renderer.
    """

    def __init__(self, eyes: Sequence[PixelEnv], *, own_models: bool) -> None:
        self._eyes = eyes
        self._drawers = eyes if own_models else [eyes[0]] * len(eyes)
        shown = {id(eye): _stage(eye) for eye in self._drawers}
        self._shown = [shown[id(eye)] for eye in self._drawers]

    def of_batch(self, batch: Batch) -> np.ndarray:
        """(B, 3 * cameras, size, size) uint8 of where the rows have come to."""
        pictures = []
        for row, (eye, shown) in enumerate(zip(self._drawers, self._shown, strict=True)):
            batch.get_data(row, shown.data.ptr)
            pictures.append(eye.look(shown))
        return np.stack(pictures)

    def of_environment(self, row: int) -> np.ndarray:
        """(3 * cameras, size, size) uint8 of where the environment of one row is."""
        physics, shown = self._eyes[row].physics, self._shown[row]
        assert physics is not None
        mujoco.mj_copyData(shown.data.ptr, shown.model.ptr, physics.data.ptr)
        return self._drawers[row].look(shown)

    def beside(self, states: Obs, rgb: np.ndarray) -> Obs:
        """(B, ...) observations: the pictures, and the states where they are asked for."""
        return self._eyes[0].with_pictures(states, rgb)


def _stage(eye: PixelEnv) -> SimpleNamespace:
    """A simulation of the same model, to put rows into and to look at."""
    assert eye.physics is not None
    model = eye.physics.model
    return SimpleNamespace(model=model, data=SimpleNamespace(ptr=mujoco.MjData(model.ptr)))
