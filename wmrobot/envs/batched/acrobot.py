"""Acrobot: swing up."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.port import XZ, ZZ
from wmrobot.envs.batched.tolerance import Floats, bell, norms, within


class Acrobot:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._arms = [batch.body(name).xmat for name in ("upper_arm", "lower_arm")]
        self._qvel = batch.bind("qvel")
        self._radius = float(batch.model.site("target").size[0])
        self._sparse = task == "swingup_sparse"
        self.facts = batch.site("target").xpos, batch.site("tip").xpos

    def observe(self) -> tuple[Floats, ...]:
        """Sines, then cosines of both angles; velocities."""
        return (*(arm[:, [axis]] for axis in (XZ, ZZ) for arm in self._arms), self._qvel)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """How near the tip is to the target."""
        target, tip = facts
        distance = norms(target - tip)
        if self._sparse:
            return within(distance, 0.0, self._radius)
        return bell(distance, 0.0, self._radius, 1.0)
