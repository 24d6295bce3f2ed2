"""Humanoid: stand, walk or run; `run_pure_state` observes positions and velocities alone."""

from collections.abc import Sequence

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import ZX, ZZ
from wmrobot.envs.batched.tolerance import Floats, bell, norms, ramp, small_control, turned

STAND_HEIGHT = 1.4  # of the head [m]
SPEED = {"stand": 0.0, "walk": 1.0, "run": 10.0, "run_pure_state": 10.0}  # [m/s]
EXTREMITIES = ("left_hand", "left_foot", "right_hand", "right_foot")


class Humanoid:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        torso = batch.body("torso")
        self._frame, self._place = torso.xmat, torso.xpos
        self._head = batch.body("head").xpos[:, 2]
        self._ends = [batch.body(name).xpos for name in EXTREMITIES]
        self._velocity = batch.sensor("torso_subtreelinvel").data
        self.facts = self._head, self._frame[:, ZZ], batch.bind("ctrl"), self._velocity[:, :2]
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        self._wanted, self._pure = SPEED[task], task == "run_pure_state"

    def observe(self) -> tuple[Floats, ...]:
        """Joints, height, hands and feet as the torso sees them, what is up, velocities."""
        if self._pure:
            return self._qpos, self._qvel
        ends = turned(np.stack(self._ends, axis=1) - self._place[:, None], self._frame)
        return (
            self._qpos[:, 7:],
            self._head[:, None],
            ends.reshape(len(ends), -1),
            self._frame[:, ZX:],
            self._velocity,
            self._qvel,
        )

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Upright and high enough, without much effort, and at the right speed."""
        head, upright, ctrl, plane = facts
        standing = bell(head, STAND_HEIGHT, float("inf"), STAND_HEIGHT / 4)
        stand = standing * ramp(upright, 0.9, 1.9, 0.0)
        effort = small_control(ctrl)
        if self._wanted == 0:
            still: Floats = bell(plane, 0.0, 0.0, 2.0, alone=False).mean(axis=-1)
            return effort * stand * still
        move = ramp(norms(plane), self._wanted, self._wanted, 0.0)
        return effort * stand * ((5 * move + 1) / 6)
