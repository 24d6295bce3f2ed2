"""Cheetah: run."""

from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, ramp

SPEED = 10.0  # [m/s]


class Cheetah:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._pose, self._qvel = batch.bind("qpos")[:, 1:], batch.bind("qvel")
        self._speed = batch.sensor("torso_subtreelinvel").data[:, 0]

    def observe(self) -> tuple[Floats, ...]:
        """Where it is, but for how far it has come; velocities."""
        return self._pose, self._qvel

    def reward(self) -> Floats:
        """As far as it is fast."""
        return ramp(self._speed, SPEED, SPEED, 0.0)
