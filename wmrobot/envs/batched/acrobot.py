"""Acrobot: swing up."""

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import XZ, ZZ
from wmrobot.envs.batched.tolerance import Floats, bell, norms, within


class Acrobot:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._arms = [batch.body(name).xmat for name in ("upper_arm", "lower_arm")]
        self._qvel = batch.bind("qvel")
        self._tip, self._target = batch.site("tip").xpos, batch.site("target").xpos
        self._radius = float(batch.model.site("target").size[0])
        self._sparse = task == "swingup_sparse"

    def observe(self) -> tuple[Floats, ...]:
        """Sines, then cosines of both angles; velocities."""
        return (*(arm[:, [axis]] for axis in (XZ, ZZ) for arm in self._arms), self._qvel)

    def reward(self) -> Floats:
        """How near the tip is to the target."""
        distance = norms(np.subtract(self._target, self._tip))
        if self._sparse:
            return within(distance, 0.0, self._radius)
        return bell(distance, 0.0, self._radius, 1.0)
