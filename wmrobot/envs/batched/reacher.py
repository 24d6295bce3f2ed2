"""Reacher: touch the target with the finger; the target is moved at every reset."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, norms, within


class Reacher:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        places = (batch.geom(name).xpos[:, :2] for name in ("target", "finger"))
        self.facts = self._target, self._finger = tuple(places)
        sizes = [batch.model.geom(name).size[0] for name in ("target", "finger")]
        self._radii = float(sizes[0] + sizes[1])

    def observe(self) -> tuple[Floats, ...]:
        """Angles, way to the target, velocities."""
        return self._qpos, self._target - self._finger, self._qvel

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Whether they touch."""
        target, finger = facts
        return within(norms(target - finger), 0.0, self._radii)
