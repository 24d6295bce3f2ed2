"""Point mass: reach the middle; in `hard` every reset mixes the two motors anew."""

from mujoco.batch import Batch

from wmrobot.envs.batched.tolerance import Floats, bell, norms, small_control


class PointMass:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        self._ctrl = batch.bind("ctrl")
        self._target, self._mass = (batch.geom(name).xpos for name in ("target", "pointmass"))
        self._radius = float(batch.model.geom("target").size[0])

    def observe(self) -> tuple[Floats, ...]:
        """Positions and velocities."""
        return self._qpos, self._qvel

    def reward(self) -> Floats:
        """Near the target, without much effort."""
        near = bell(norms(self._target - self._mass), 0.0, self._radius, self._radius)
        return near * small_control(self._ctrl)
