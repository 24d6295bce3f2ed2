"""Cartpole: balance or swing up one pole, or several; sparse tasks count what is in bounds."""

from collections.abc import Sequence

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
        self._qvel = batch.bind("qvel")
        cosines, slides = self._poles[:, :, ZZ], self._cart[:, 0]
        self.facts = cosines, slides, self._qvel[:, 1:], batch.bind("ctrl")
        self._sparse = task.endswith("sparse")

    def observe(self) -> tuple[Floats, ...]:
        """Cart, cosine and sine of every pole, velocities."""
        return self._cart, self._poles[:, :, ZZ_XZ].reshape(len(self._cart), -1), self._qvel

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Poles up, cart in the middle, slow poles, little effort."""
        cosines, cart, speeds, ctrl = facts
        if self._sparse:
            upright: Floats = within(cosines, *COSINE_RANGE).prod(axis=-1)
            return within(cart, *CART_RANGE) * upright
        upright = ((cosines + 1) / 2).mean(axis=-1)
        centred = (1 + bell(cart, 0.0, 0.0, 2.0)) / 2
        slow: Floats = (1 + bell(speeds, 0.0, 0.0, 5.0, alone=False).min(axis=-1)) / 2
        return upright * small_control(ctrl) * slow * centred
