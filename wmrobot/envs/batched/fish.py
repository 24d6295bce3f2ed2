"""Fish: keep upright, or swim to a target, which every reset moves."""

from collections.abc import Sequence

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
        sizes = [batch.model.geom(name).size[0] for name in ("mouth", "target")]
        self._radii = float(sizes[0] + sizes[1])
        self._swims = task == "swim"
        self.facts = self._upright, target.xpos, mouth.xpos, mouth.xmat

    def observe(self) -> tuple[Floats, ...]:
        """Joints, how upright, way to the target as the mouth sees it, velocities."""
        way = (_way(*self.facts[1:]),) if self._swims else ()
        return (*self._joints, self._upright[:, None], *way, self._qvel)

    def reward(self, facts: Sequence[Floats]) -> Floats:
        """Upright; and near the target, where there is one."""
        upright, *places = facts
        if not self._swims:
            return bell(upright, 1.0, 1.0, 1.0)
        in_target = bell(norms(_way(*places)), 0.0, self._radii, 2 * self._radii)
        reward: Floats = (7 * in_target + 0.5 * (upright + 1)) / 8
        return reward


def _way(target: Floats, mouth: Floats, frame: Floats) -> Floats:
    """(..., 3) to the target, as the mouth sees it [m]."""
    return turned((target - mouth)[..., None, :], frame)[..., 0, :]
