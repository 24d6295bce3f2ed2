"""Quadruped: walk or run."""

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.port import ZZ
from wmrobot.envs.batched.tolerance import Floats, ramp

SPEED = {"walk": 0.5, "run": 5.0}  # [m/s]
INERTIAL = mujoco.mjtSensor.mjSENS_GYRO, mujoco.mjtSensor.mjSENS_ACCELEROMETER
FOOT = mujoco.mjtSensor.mjSENS_FORCE, mujoco.mjtSensor.mjSENS_TORQUE


class Quadruped:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        model = batch.model
        hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        self._hinge_qpos, self._hinge_dof = model.jnt_qposadr[hinges], model.jnt_dofadr[hinges]
        self._qpos, self._qvel, self._act = (batch.bind(name) for name in ("qpos", "qvel", "act"))
        self._upright = batch.body("torso").xmat[:, ZZ]
        self._velocity = batch.sensor("velocimeter").data
        self._sensors = batch.bind("sensordata")
        self._imu, self._feet = _readings(model, INERTIAL), _readings(model, FOOT)
        self._wanted = SPEED[task]
        self.facts = self._velocity[:, 0], self._upright

    def observe(self) -> tuple[Floats, ...]:
        """Joints and muscles, velocity, how upright, inertial sensors, forces at the feet."""
        return (
            self._qpos[:, self._hinge_qpos],
            self._qvel[:, self._hinge_dof],
            self._act,
            self._velocity,
            self._upright[:, None],
            self._sensors[:, self._imu],
            np.arcsinh(self._sensors[:, self._feet]),
        )

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Upright, and forward at the right speed."""
        speed, upright = facts
        move = ramp(speed, self._wanted, self._wanted, 0.5)
        return ramp(upright, 1.0, 2.0, 0.0) * move


def _readings(model: mujoco.MjModel, kinds: tuple[int, ...]) -> np.ndarray:
    """Entries of `sensordata` that sensors of some kinds write, in the model's order."""
    found = np.flatnonzero(np.isin(model.sensor_type, kinds))
    start, size = model.sensor_adr[found], model.sensor_dim[found]
    return np.concatenate([np.arange(a, a + n) for a, n in zip(start, size, strict=True)])
