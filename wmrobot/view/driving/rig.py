"""One simulated robot, rebuilt and reset at will, and what a window is told of its place."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wmrobot.core.random import make_numpy_generator
from wmrobot.core.spec import FloatArray, Obs, Step, TaskSpec
from wmrobot.envs.vector import VectorEnv
from wmrobot.view.driving.disturbances import Disturbances
from wmrobot.view.looks import SEEN, Looks, dressed, looks_of, shapes_of

MakeEnv = Callable[[int], VectorEnv]
"""Builds one environment from a seed."""

LARGEST_PICTURE = 200_000  # [bytes] that a window is told at once


class Rig:
    """The robot of a window.

    Args:
        make_env: Builds one environment from a seed.
        seed: Of the first one.
    """

    def __init__(self, make_env: MakeEnv, seed: int) -> None:
        self._make_env = make_env
        self._looks: tuple[bytes, ...] = ()
        self.env = make_env(seed)
        self.spec: TaskSpec = self.env.task_spec
        self.disturbances = Disturbances(
            lambda: self.env.physics(0),
            make_numpy_generator(seed, "window noise"),
            self.spec.action_dim,
        )
        self.obs: Obs = self.reset()

    @property
    def has_scene(self) -> bool:
        """Whether there is a MuJoCo model to draw."""
        return self.env.physics(0) is not None

    def restart(self, seed: int) -> None:
        """Build it anew from another seed."""
        self.env.close()
        self.env = self._make_env(seed)
        self._looks = ()
        self.reset()

    def reset(self) -> Obs:
        """Start the next episode."""
        self.obs = self.env.reset()
        self.disturbances.begin_episode()
        return self.obs

    def sense(self) -> Obs:
        """What the controller is told of the present state."""
        return self.disturbances.noisy(self.obs)

    def step(self, action: FloatArray) -> Step:
        """Take one decision (1, A); where the episode ends, the next one has begun."""
        acting = self.disturbances.delayed(action)
        self.disturbances.before_step()
        step = self.env.step(acting)
        self.obs = step.obs
        if step.ended[0]:
            self.disturbances.begin_episode()
        return step

    def place(self) -> dict[str, np.ndarray]:
        """Joint positions, and what else the scene is drawn from; empty without one."""
        physics = self.env.physics(0)
        if physics is None:
            return {}
        data = physics.data.ptr
        place = {"qpos": data.qpos.copy()}
        if len(data.mocap_pos):
            place |= {"mocap_pos": data.mocap_pos.copy(), "mocap_quat": data.mocap_quat.copy()}
        return place

    def new_looks(self, *, anyway: bool = False) -> Any | None:
        """The `MjModel` where it looks different than at the last call, or `anyway`, else None."""
        physics = self.env.physics(0)
        if physics is None:
            return None
        model = physics.model.ptr
        looks = tuple(getattr(model, name).tobytes() for name in SEEN)
        if looks == self._looks and not anyway:
            return None
        self._looks = looks
        return model

    def looks(self) -> dict[str, np.ndarray]:
        """What it looks like now; empty without a scene."""
        physics = self.env.physics(0)
        return {} if physics is None else looks_of(physics.model.ptr)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of everything that is drawn of it, by name; empty without a scene."""
        physics = self.env.physics(0)
        return {} if physics is None else shapes_of(physics.model.ptr)

    def dressed(self, looks: Looks) -> Any:
        """An `MjModel` of it that looks so; there must be a scene."""
        physics = self.env.physics(0)
        assert physics is not None
        return dressed(physics.model.ptr, looks)

    def bodies(self) -> dict[str, int]:
        """Bodies that can be pushed, by name."""
        physics = self.env.physics(0)
        if physics is None:
            return {}
        model = physics.model.ptr
        moving = [b for b in range(1, model.nbody) if model.body_weldid[b] and model.body_mass[b]]
        return {model.body(body).name or f"body {body}": body for body in moving}

    def weight(self) -> float:
        """Of all that moves [N]."""
        physics = self.env.physics(0)
        if physics is None:
            return 0.0
        model = physics.model.ptr
        return float(sum(model.body_mass[body] for body in self.bodies().values()) * 9.81)

    def travels(self) -> bool:
        """Whether the task's own camera goes with the robot: then the window's does, too."""
        physics = self.env.physics(0)
        if physics is None or not physics.model.ptr.ncam:
            return False
        return bool(physics.model.ptr.cam_mode[0] in (1, 2))  # mjCAMLIGHT_TRACK, TRACKCOM

    def picture(self) -> np.ndarray | None:
        """(height, width, 3) uint8 of what the encoder sees, cameras side by side."""
        rgb = self.obs.get("rgb")
        if rgb is None:
            return None
        views = rgb[0].reshape(-1, 3, *rgb.shape[2:]).transpose(0, 2, 3, 1)
        joined = np.concatenate(list(views), axis=1)
        coarser = max(1, math.ceil((joined.nbytes / LARGEST_PICTURE) ** 0.5))
        return np.ascontiguousarray(joined[::coarser, ::coarser], dtype=np.uint8)

    def close(self) -> None:
        """Free the simulator."""
        self.env.close()
