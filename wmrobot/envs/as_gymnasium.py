"""A `TaskEnv` as a Gymnasium environment, for everybody else's tools."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from wmrobot.core.spec import FloatArray, ObsMode
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import RenderMode

FRAME_SIZE = (240, 320)  # [pixels] height and width of what `render` draws
SEED_RANGE = 2**31


class WmrobotEnv(gymnasium.Env[Any, FloatArray]):
    """One task; `obs=state` observes a Box, the other modes a Dict.

    Args:
        task: Any accepted spelling of a task's name.
        obs: Modalities of an observation.
        cameras: Cameras that `rgb` sees; None for the task's own.
        render: How `rgb` is drawn.
        image_size: Height and width of `rgb` [pixels].
        render_mode: `rgb_array`, or None.
    """

    # Gymnasium reads it from the class and declares it an instance's, so ClassVar will not do.
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        obs: ObsMode = "state",
        cameras: Sequence[int | str] | None = None,
        render: RenderMode = "near",
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        self._env = make_env(
            task, seed=0, obs=obs, cameras=cameras, render=render, image_size=image_size
        )
        self._seeded = False
        self._made_by: EnvSpec | None = None
        self.render_mode = render_mode
        spec = self._env.task_spec
        self.metadata = {**self.metadata, "render_fps": round(1.0 / spec.control_dt)}
        self.action_space = spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)
        modalities = {name: _space(name, shape) for name, shape in spec.obs_shapes.items()}
        self._is_flat = obs == "state"
        self.observation_space = (
            modalities["state"] if self._is_flat else spaces.Dict(dict(modalities))
        )

    @property
    def spec(self) -> EnvSpec | None:
        """What it was made by, with its time limit; None where `gymnasium.make` did not make it.

        The limit is told here, not where ids are registered: the built task alone knows it, and it
        truncates itself, where Gymnasium would wrap it in a time limit of its own.
        """
        return self._made_by

    @spec.setter
    def spec(self, made_by: EnvSpec | None) -> None:
        limit = self._env.task_spec.episode_decisions
        self._made_by = None if made_by is None else replace(made_by, max_episode_steps=limit)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode. Without a seed, ever, episodes are random; there are no options."""
        super().reset(seed=seed, options=options)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(SEED_RANGE))
        self._seeded = True
        return self._pick(self._env.reset(seed)), {}

    def step(self, action: FloatArray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision."""
        obs, reward, terminated, truncated, info = self._env.step(action)
        return self._pick(obs), reward, terminated, truncated, dict(info)

    def render(self) -> np.ndarray | None:
        """A picture, (240, 320, 3) uint8, where `render_mode` asks for it."""
        return self._env.frame(*FRAME_SIZE) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulator and the renderer."""
        self._env.close()

    def _pick(self, obs: dict[str, Any]) -> Any:
        return obs["state"] if self._is_flat else obs


def _space(name: str, shape: tuple[int, ...]) -> spaces.Box:
    if name == "rgb":
        return spaces.Box(0, 255, shape, np.uint8)
    limit = np.finfo(np.float32).max  # finite, for Gymnasium's checker warns of infinity
    return spaces.Box(-limit, limit, shape, np.float32)
