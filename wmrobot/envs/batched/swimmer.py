"""Swimmer: bring the nose to the target, which every reset moves."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, long_tail, norms, turned

HEAD_SENSORS = 12  # entries of `sensordata` before the head's velocities
VELOCITIES = (0, 1, 5)  # of a body's six: along x and y, about z


class Swimmer:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._joints = batch.bind("qpos")[:, 3:]
        self._sensors = batch.bind("sensordata")[:, HEAD_SENSORS:]
        target, nose = (batch.geom(name).xpos for name in ("target", "nose"))
        self.facts = target, nose, batch.body("head").xmat
        self._radius = float(batch.model.geom("target").size[0])

    def observe(self) -> tuple[Floats, ...]:
        """Joints, way to the target as the head sees it, velocities of every body."""
        bodies = self._sensors.reshape(len(self._sensors), -1, 6)[:, :, VELOCITIES]
        return self._joints, _way(*self.facts), bodies.reshape(len(bodies), -1)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """How near the nose is to the target."""
        return long_tail(norms(_way(*facts)), self._radius, 5 * self._radius)


def _way(target: Floats, nose: Floats, head: Floats) -> Floats:
    """(..., 2) to the target, as the head sees it [m]."""
    return turned((target - nose)[..., None, :], head)[..., 0, :2]
