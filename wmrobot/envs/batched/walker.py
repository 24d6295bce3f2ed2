"""Walker: stand, or go at a speed."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.port import XX, XZ, ZZ
from wmrobot.envs.batched.tolerance import Floats, bell, ramp

STAND_HEIGHT = 1.2  # [m]
SPEED = {"stand": 0.0, "walk": 1.0, "run": 8.0}  # [m/s]


class Walker:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        torso = batch.body("torso")
        self._height = torso.xpos[:, 2]
        self._axes = batch.bind("xmat")[:, 1:, XX : XZ + 1 : XZ - XX]
        self._qvel = batch.bind("qvel")
        self._wanted = SPEED[task]
        speed = batch.sensor("torso_subtreelinvel").data[:, 0]
        self.facts = self._height, torso.xmat[:, ZZ], speed

    def observe(self) -> tuple[Floats, ...]:
        """Orientations in the plane, height, velocities."""
        return self._axes.reshape(len(self._axes), -1), self._height[:, None], self._qvel

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Upright and high enough; then also fast enough."""
        height, upright, speed = facts
        standing = bell(height, STAND_HEIGHT, float("inf"), STAND_HEIGHT / 2)
        reward: Floats = (3 * standing + (1 + upright) / 2) / 4
        if self._wanted:
            move = ramp(speed, self._wanted, self._wanted / 2, 0.5)
            reward = reward * (5 * move + 1) / 6
        return reward
