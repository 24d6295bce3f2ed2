"""Finger: spin a body, or turn it so that its tip is in the target, which every reset moves."""

from collections.abc import Sequence

import numpy as np
from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, norms, within

SPIN_VELOCITY = 15.0  # [rad/s]
VELOCITIES = ("proximal_velocity", "distal_velocity", "hinge_velocity")
PLANE = slice(0, 3, 2)  # x and z


class Finger:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        joints = ("proximal", "distal")
        touches = ("touchtop", "touchbottom")
        self._joints, self._velocities, self._touches = (
            [batch.sensor(name).data for name in names] for names in (joints, VELOCITIES, touches)
        )
        self._tip, self._target, self._hinge = (
            batch.sensor(name).data[:, PLANE] for name in ("tip", "target", "spinner")
        )
        self._radius = float(batch.model.site("target").size[0])
        self._spins = task == "spin"
        self.facts: tuple[Floats, ...]
        if self._spins:
            self.facts = (self._velocities[-1][:, 0],)
        else:
            self.facts = self._target, self._tip, self._hinge

    def observe(self) -> tuple[Floats, ...]:
        """Joints, tip, velocities, touch; where the target is and how far, if there is one."""
        touch = np.log1p(np.concatenate(self._touches, axis=1))
        seen = (*self._joints, self._tip - self._hinge, *self._velocities, touch)
        if self._spins:
            return seen
        distance = self._distance(self._target, self._tip, self._hinge)
        return (*seen, self._target - self._hinge, distance[:, None])

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Whether it spins, or is in the target."""
        if self._spins:
            return within(facts[0], -np.inf, -SPIN_VELOCITY)
        return within(self._distance(*facts), -np.inf, 0.0)

    def _distance(self, target: Floats, tip: Floats, hinge: Floats) -> Floats:
        """(..., 2) places -> (...,) from the tip to the target's surface [m], negative inside."""
        return norms((target - hinge) - (tip - hinge)) - self._radius
