"""Ball in cup: catch the ball."""

from collections.abc import Sequence

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import side_by_side
from wmrobot.envs.batched.tolerance import Floats

PLANE = slice(0, 3, 2)  # x and z


class BallInCup:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._seen = side_by_side(batch, batch.bind("qpos"), batch.bind("qvel"))
        self.facts = tuple(
            place.xpos[:, PLANE] for place in (batch.site("target"), batch.body("ball"))
        )
        model = batch.model
        self._room = model.site("target").size[PLANE] - model.geom("ball").size[0]

    def observe(self) -> tuple[Floats, ...]:
        """Positions and velocities."""
        return (self._seen,)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Whether all of the ball is in the cup."""
        target, ball = facts
        caught: Floats = (np.abs(target - ball) < self._room).all(axis=-1).astype(np.float64)
        return caught
