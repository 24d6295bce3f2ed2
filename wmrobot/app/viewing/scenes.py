"""A task's MuJoCo model, to draw a robot with that is not simulated here."""

import copy
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from wmrobot.core.errors import TaskError

ONLY_CURVES = "curves only"


@dataclass(frozen=True, kw_only=True)
class TaskScene:
    """What there is to draw.

    Attributes:
        model: The `MjModel`; None where there is none.
        follows: Whether the robot travels.
        note: What has to be said about it; empty where all is as it should be.
    """

    model: Any | None
    follows: bool = False
    note: str = ""

    def judge(self, pose_dim: int, mjcf_sha256: str | None) -> tuple[bool, str]:
        """Whether a robot's poses can be drawn with it, and what has to be said about that.

        Args:
            pose_dim: P, entries of its poses; 0 where it tells none.
            mjcf_sha256: Of its own model, where it has told one.
        """
        if self.model is None:
            return False, self.note
        if not pose_dim:
            return False, f"{ONLY_CURVES}: the robot tells no pose (see Robot.pose)"
        if pose_dim != self.model.nq:
            return False, (
                f"{ONLY_CURVES}: expected a pose of {self.model.nq} entries, as its task's model "
                f"has, got {pose_dim}"
            )
        from wmrobot.export.robot import model_sha256

        if mjcf_sha256 and mjcf_sha256 != model_sha256(self.model):
            return True, "drawn with its task's model as it is here, which is not the robot's own"
        return True, self.note


def find_scene(task: str) -> TaskScene:
    """The model of a task, or why there is none."""
    try:
        from wmrobot.envs.vector import VectorEnv
        from wmrobot.view.driving.rig import Rig

        rig = Rig(lambda seed: VectorEnv(task, 1, seed=seed), 0)
    except (TaskError, ModuleNotFoundError) as error:
        return TaskScene(model=None, note=f"{ONLY_CURVES}: its task is not here ({error})")
    with closing(rig):
        if not rig.has_scene:
            return TaskScene(model=None, note=f"{ONLY_CURVES}: {task} has no MuJoCo scene")
        model = copy.copy(rig.new_looks(anyway=True))  # the simulation's own ends with it
        rig.reset()
        note = ""
        if rig.new_looks() is not None:
            note = "what a reset moves beside the joints, a target for instance, stands still here"
        return TaskScene(model=model, follows=rig.travels(), note=note)
