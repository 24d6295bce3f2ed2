"""Fish: keep upright, or swim to a target, which every reset moves."""

from mujoco.batch import Batch

from wmrobot.envs.batched.port import ZZ
from wmrobot.envs.batched.tolerance import Floats, bell, norms, turned

JOINTS = (
    "tail1",
    "tail_twist",
    "tail2",
    "finright_roll",
    "finright_pitch",
    "finleft_roll",
    "finleft_pitch",
)


class Fish:
    """See `Port`."""

    def __init__(self, batch: Batch, task: str) -> None:
        self._joints = [batch.joint(name).qpos for name in JOINTS]
        self._qvel = batch.bind("qvel")
        self._upright = batch.body("torso").xmat[:, ZZ]
        mouth, target = batch.geom("mouth"), batch.geom("target")
        self._mouth, self._mouth_frame, self._target = mouth.xpos, mouth.xmat, target.xpos
        sizes = [batch.model.geom(name).size[0] for name in ("mouth", "target")]
        self._radii = float(sizes[0] + sizes[1])
        self._swims = task == "swim"

    def observe(self) -> tuple[Floats, ...]:
        """Joints, how upright, way to the target as the mouth sees it, velocities."""
        way = (self._way(),) if self._swims else ()
        return (*self._joints, self._upright[:, None], *way, self._qvel)

    def reward(self) -> Floats:
        """Upright; and near the target, where there is one."""
        if not self._swims:
            return bell(self._upright, 1.0, 1.0, 1.0)
        in_target = bell(norms(self._way()), 0.0, self._radii, 2 * self._radii)
        reward: Floats = (7 * in_target + 0.5 * (self._upright + 1)) / 8
        return reward

    def _way(self) -> Floats:
        return turned((self._target - self._mouth)[:, None], self._mouth_frame)[:, 0]
