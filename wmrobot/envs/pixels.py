"""Adds pictures to the observations of any task: `rgb`, the newest frame of each camera."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wmrobot.core.errors import ConfigError
from wmrobot.core.spec import FloatArray, Obs, ObsMode, TaskSpec
from wmrobot.envs.render import Renderer, make_renderer
from wmrobot.envs.task import RenderMode, TaskEnv


class PixelEnv:
    """An environment whose observations hold `rgb`, (3 * cameras, size, size) uint8.

    Args:
        env: Environment of any source.
        obs: `rgb` drops `state`, `state+rgb` keeps it.
        cameras: Names or indices; their pictures are stacked along the channels, in order.
        mode: How to draw. Gymnasium environments draw themselves.
        image_size: Height and width [pixels].
    """

    def __init__(
        self,
        env: TaskEnv,
        *,
        obs: ObsMode,
        cameras: Sequence[int | str],
        mode: RenderMode,
        image_size: int,
    ) -> None:
        if not cameras or image_size < 1:
            raise ConfigError(
                f"expected at least one camera and image_size >= 1, got {cameras}, {image_size}"
            )
        self._env = env
        self._cameras = tuple(cameras)
        self._mode = mode
        self._size = image_size
        self._keep_state = obs == "state+rgb"
        self._renderer: Renderer | None = None
        self._drawn: Any | None = None
        check_cameras(env, self._cameras)
        kept = env.task_spec.obs_shapes if self._keep_state else {}
        shapes = {**kept, "rgb": (3 * len(self._cameras), image_size, image_size)}
        self._spec = replace(env.task_spec, obs_shapes=shapes)

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts."""
        return self._spec

    @property
    def inner(self) -> TaskEnv:
        """The environment that is looked at."""
        return self._env

    @property
    def physics(self) -> Any | None:
        """The inner environment's physics."""
        return self._env.physics

    def reset(self, seed: int | None = None) -> Obs:
        """Start an episode and look at it."""
        return self._see(self._env.reset(seed))

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One decision, then one look."""
        obs, reward, terminated, truncated, info = self._env.step(action)
        return self._see(obs), reward, terminated, truncated, info

    def snapshot(self) -> dict[str, Any] | None:
        """The inner snapshot: pictures follow from it."""
        return self._env.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self._env.restore(snapshot)

    def frame(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        """One picture for people, (height, width, 3) uint8."""
        return self._env.frame(height, width, camera)

    def close(self) -> None:
        """Free the renderer, then the inner environment."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._drawn = None
        self._env.close()

    def look(self, physics: Any | None) -> np.ndarray:
        """What the cameras see of a simulation of this task, (3 * cameras, size, size) uint8.

        Args:
            physics: This environment's own, or one like it; a renderer is built for each new one.
                None where the environment draws itself.
        """
        pictures = [self._picture(physics, camera).transpose(2, 0, 1) for camera in self._cameras]
        return np.ascontiguousarray(np.concatenate(pictures))

    def with_pictures(self, obs: Obs, rgb: np.ndarray) -> Obs:
        """Observations with pictures, and with states where they are asked for."""
        return {**obs, "rgb": rgb} if self._keep_state else {"rgb": rgb}

    def _see(self, obs: Obs) -> Obs:
        return self.with_pictures(obs, self.look(self._env.physics))

    def _picture(self, physics: Any | None, camera: int | str) -> np.ndarray:
        if physics is None:
            return self._env.frame(self._size, self._size, camera)
        if self._renderer is None or self._drawn is not physics:  # a reseeded task may be rebuilt
            if self._renderer is not None:
                self._renderer.close()
            self._renderer = make_renderer(
                physics, height=self._size, width=self._size, mode=self._mode
            )
            self._drawn = physics
        return self._renderer.picture(camera)


def check_cameras(env: TaskEnv, cameras: Sequence[int | str]) -> None:
    """Refuse cameras that an environment does not have.

    Raises:
        ConfigError: It draws itself.
        TaskError: Its model has no such camera.
    """
    if env.physics is None:
        if tuple(cameras) != (0,):
            raise ConfigError(
                f"cameras: expected none for {env.task_spec.name}, which draws itself, got "
                f"{list(cameras)}; choose its camera where it is made"
            )
        return
    from wmrobot.envs.scene import FREE_CAMERA, find_camera

    for camera in cameras:
        if camera != FREE_CAMERA:
            find_camera(env.physics.model.ptr, camera)
