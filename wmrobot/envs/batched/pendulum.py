"""Pendulum: swing up."""

from collections.abc import Sequence

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import ZZ, ZZ_XZ
from wmrobot.envs.batched.tolerance import Floats, within

COSINE_RANGE = float(np.cos(np.deg2rad(8))), 1.0


class Pendulum:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._pole, self._velocity = batch.body("pole").xmat, batch.joint("hinge").qvel
        self.facts = (self._pole[:, ZZ],)

    def observe(self) -> tuple[Floats, ...]:
        """Cosine and sine of the angle, velocity."""
        return self._pole[:, ZZ_XZ], self._velocity

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Whether it stands."""
        return within(facts[0], *COSINE_RANGE)
