"""Hopper: stand, or hop forward."""

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, ramp, small_control, within

STAND_HEIGHT = 0.6, 2.0  # of the torso over the foot [m]
SPEED = 2.0  # [m/s]


class Hopper:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._hops = task == "hop"
        self._pose, self._qvel = batch.bind("qpos")[:, 1:], batch.bind("qvel")
        self._torso, self._foot = (batch.body(name).xipos[:, 2] for name in ("torso", "foot"))
        self._speed = batch.sensor("torso_subtreelinvel").data[:, 0]
        self._touch = [batch.sensor(name).data for name in ("touch_toe", "touch_heel")]
        self._ctrl = batch.bind("ctrl")

    def observe(self) -> tuple[Floats, ...]:
        """Where it is, but for how far it has come; velocities; touch."""
        return self._pose, self._qvel, np.log1p(np.concatenate(self._touch, axis=1))

    def reward(self) -> Floats:
        """High enough; then also fast, or without much effort."""
        standing = within(self._torso - self._foot, *STAND_HEIGHT)
        if self._hops:
            return standing * ramp(self._speed, SPEED, SPEED / 2, 0.5)
        return standing * small_control(self._ctrl)
