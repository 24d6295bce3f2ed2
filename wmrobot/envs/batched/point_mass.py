"""Point mass: reach the middle; in `hard` every reset mixes the two motors anew."""

from collections.abc import Sequence

from mujoco.batch import Batch

from wmrobot.envs.batched.port import side_by_side
from wmrobot.envs.batched.tolerance import Floats, bell, norms, small_control


class PointMass:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._seen = side_by_side(batch, batch.bind("qpos"), batch.bind("qvel"))
        target, mass = (batch.geom(name).xpos for name in ("target", "pointmass"))
        self.facts = target, mass, batch.bind("ctrl")
        self._radius = float(batch.model.geom("target").size[0])

    def observe(self) -> tuple[Floats, ...]:
        """Positions and velocities."""
        return (self._seen,)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Near the target, without much effort."""
        target, mass, ctrl = facts
        near = bell(norms(target - mass), 0.0, self._radius, self._radius)
        return near * small_control(ctrl)
