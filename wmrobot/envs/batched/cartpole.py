"""Cartpole: balance or swing up one pole, or several; sparse tasks count what is in bounds."""

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import ZZ, ZZ_XZ
from wmrobot.envs.batched.tolerance import Floats, bell, small_control, within

CART_RANGE = -0.25, 0.25  # [m]
COSINE_RANGE = 0.995, 1.0


class Cartpole:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._cart = batch.joint("slider").qpos
        self._poles = batch.bind("xmat")[:, 2:]
        self._qvel, self._ctrl = batch.bind("qvel"), batch.bind("ctrl")
        self._sparse = task.endswith("sparse")

    def observe(self) -> tuple[Floats, ...]:
        """Cart, cosine and sine of every pole, velocities."""
        return self._cart, self._poles[:, :, ZZ_XZ].reshape(len(self._cart), -1), self._qvel

    def reward(self) -> Floats:
        """Poles up, cart in the middle, slow poles, little effort."""
        cart, cosines = self._cart[:, 0], self._poles[:, :, ZZ]
        if self._sparse:
            upright: Floats = within(cosines, *COSINE_RANGE).prod(axis=1)
            return within(cart, *CART_RANGE) * upright
        upright = np.ascontiguousarray((cosines + 1) / 2).mean(axis=1)
        centred = (1 + bell(cart, 0.0, 0.0, 2.0)) / 2
        slow: Floats = (1 + bell(self._qvel[:, 1:], 0.0, 0.0, 5.0, alone=False).min(axis=1)) / 2
        return upright * small_control(self._ctrl) * slow * centred
