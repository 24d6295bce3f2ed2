"""Cheetah: run."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.port import side_by_side
from wmrobot.envs.batched.tolerance import Floats, ramp

SPEED = 10.0  # [m/s]


class Cheetah:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._seen = side_by_side(batch, batch.bind("qpos")[:, 1:], batch.bind("qvel"))
        self.facts = (batch.sensor("torso_subtreelinvel").data[:, 0],)

    def observe(self) -> tuple[Floats, ...]:
        """Where it is, but for how far it has come; velocities."""
        return (self._seen,)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """As far as it is fast."""
        (speed,) = facts
        return ramp(speed, SPEED, SPEED, 0.0)
