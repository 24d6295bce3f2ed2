"""Reacher: touch the target with the finger; the target is moved at every reset."""

from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, norms, within


class Reacher:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        self._target, self._finger = (batch.geom(name).xpos for name in ("target", "finger"))
        sizes = [batch.model.geom(name).size[0] for name in ("target", "finger")]
        self._radii = float(sizes[0] + sizes[1])

    def observe(self) -> tuple[Floats, ...]:
        """Angles, way to the target, velocities."""
        return self._qpos, self._way(), self._qvel

    def reward(self) -> Floats:
        """Whether they touch."""
        return within(norms(self._way()), 0.0, self._radii)

    def _way(self) -> Floats:
        way: Floats = self._target[:, :2] - self._finger[:, :2]
        return way
