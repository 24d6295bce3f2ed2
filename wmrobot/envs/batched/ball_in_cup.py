"""Ball in cup: catch the ball."""

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats

PLANE = slice(0, 3, 2)  # x and z


class BallInCup:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        self._target, self._ball = batch.site("target").xpos, batch.body("ball").xpos
        model = batch.model
        self._room = model.site("target").size[PLANE] - model.geom("ball").size[0]

    def observe(self) -> tuple[Floats, ...]:
        """Positions and velocities."""
        return self._qpos, self._qvel

    def reward(self) -> Floats:
        """Whether all of the ball is in the cup."""
        way = np.abs(self._target[:, PLANE] - self._ball[:, PLANE])
        caught: Floats = (way < self._room).all(axis=1).astype(np.float64)
        return caught
