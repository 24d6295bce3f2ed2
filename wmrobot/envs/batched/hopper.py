"""Hopper: stand, or hop forward."""

from collections.abc import Sequence

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import side_by_side
from wmrobot.envs.batched.tolerance import Floats, ramp, small_control, within

STAND_HEIGHT = 0.6, 2.0  # of the torso over the foot [m]
SPEED = 2.0  # [m/s]


class Hopper:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._hops = task == "hop"
        self._seen = side_by_side(batch, batch.bind("qpos")[:, 1:], batch.bind("qvel"))
        self._touch = [batch.sensor(name).data for name in ("touch_toe", "touch_heel")]
        torso, foot = (batch.body(name).xipos[:, 2] for name in ("torso", "foot"))
        speed, ctrl = batch.sensor("torso_subtreelinvel").data[:, 0], batch.bind("ctrl")
        self.facts = torso, foot, speed if self._hops else ctrl

    def observe(self) -> tuple[Floats, ...]:
        """Where it is, but for how far it has come; velocities; touch."""
        return self._seen, np.log1p(np.concatenate(self._touch, axis=1))

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """High enough; then also fast, or without much effort."""
        torso, foot, other = facts
        standing = within(torso - foot, *STAND_HEIGHT)
        if self._hops:
            return standing * ramp(other, SPEED, SPEED / 2, 0.5)
        return standing * small_control(other)
