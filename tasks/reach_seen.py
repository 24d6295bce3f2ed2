"""Reach a pin that only a camera sees, with an arm that only its encoders tell of.

The table is opaque: from below, where the camera looks up, the pin's lower end is all that there is
to see. The state holds the arm and nothing of the pin. Neither is enough: `obs=state+rgb` is.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
from dm_control import mujoco
from dm_control.rl import control
from dm_control.suite import base

from wmrobot.core.resources import resource_folder
from wmrobot.envs.task import TaskInfo, task

Float64Array = npt.NDArray[np.float64]

CONTROL_DT = 0.05  # [s]
EPISODE_DECISIONS = 100  # 5 s
NEAREST, FARTHEST = 0.08, 0.21  # [m] of the pin from the shoulder; the arm reaches 0.23
FAR, NEAR = 0.1, 0.03  # [m] distances at which the two parts of the reward have fallen to 1/e
SUCCESS_DISTANCE = 0.024  # [m] the pin's radius
SUCCESS_DECISIONS = 20  # 1 s
VELOCITY_UNIT = 10.0  # [rad/s] that observed velocities are told in


class ReachSeen(base.Task):  # type: ignore[misc]  # dm_control is not annotated
    """Hold the arm's tip over the pin."""

    def __init__(self, seed: int) -> None:
        """Make the task; `seed` starts the stream of initial states."""
        super().__init__(random=np.random.RandomState(seed))
        self._held = 0

    def initialize_episode(self, physics: mujoco.Physics) -> None:
        """Any pose of the arm at rest, any place of the pin within reach."""
        shoulder = self.random.uniform(-np.pi, np.pi)
        elbow = self.random.uniform(-2.5, 2.5)
        physics.data.qpos[:] = shoulder, elbow
        bearing = self.random.uniform(-np.pi, np.pi)
        # uniform over the area
        distance = np.sqrt(self.random.uniform(NEAREST**2, FARTHEST**2))
        physics.data.mocap_pos[0, :2] = distance * np.cos(bearing), distance * np.sin(bearing)
        self._held = 0
        super().initialize_episode(physics)

    def after_step(self, physics: mujoco.Physics) -> None:
        """Count for how long the tip has been over the pin."""
        self._held = self._held + 1 if self.distance(physics) <= SUCCESS_DISTANCE else 0
        super().after_step(physics)

    def get_observation(self, physics: mujoco.Physics) -> OrderedDict[str, np.float64]:
        """Encoders only."""
        shoulder, elbow = physics.data.qpos
        velocities = physics.data.qvel / VELOCITY_UNIT
        return OrderedDict(
            shoulder_sin=np.sin(shoulder),
            shoulder_cos=np.cos(shoulder),
            elbow_sin=np.sin(elbow),
            elbow_cos=np.cos(elbow),
            shoulder_velocity_10rad_per_s=velocities[0],
            elbow_velocity_10rad_per_s=velocities[1],
        )

    def get_reward(self, physics: mujoco.Physics) -> float:
        """In [0, 1], smooth: half for coming near, half for being there."""
        distance = self.distance(physics)
        far, near = np.exp(-((distance / FAR) ** 2)), np.exp(-((distance / NEAR) ** 2))
        return float(far + near) / 2

    def success(self, physics: mujoco.Physics) -> bool:
        """Whether the tip was over the pin for the whole of the last second."""
        del physics
        return self._held >= SUCCESS_DECISIONS

    @staticmethod
    def distance(physics: mujoco.Physics) -> float:
        """Of the tip from the pin, seen from above [m]."""
        tip: Float64Array = physics.named.data.site_xpos["tip"]
        return float(np.linalg.norm(tip[:2] - physics.data.mocap_pos[0, :2]))


@task(TaskInfo(cameras=("below",), episodic=False, episode_decisions=EPISODE_DECISIONS))
def reach_seen(seed: int) -> Any:
    """The task as an environment."""
    path = resource_folder("assets") / "reach" / "reach.xml"
    physics = mujoco.Physics.from_xml_path(str(path))
    return control.Environment(
        physics,
        ReachSeen(seed),
        time_limit=EPISODE_DECISIONS * CONTROL_DT,
        control_timestep=CONTROL_DT,
    )
