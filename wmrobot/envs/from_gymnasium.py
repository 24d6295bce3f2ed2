"""A Gymnasium environment as a `TaskEnv`: flat observation, scaled actions, its own time limit."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.seeds import legacy_seed
from wmrobot.core.spec import FloatArray, Obs, TaskSpec
from wmrobot.envs.actions import ActionScale
from wmrobot.envs.observations import StateLayout
from wmrobot.envs.task import DEFAULT_CONTROL_DT, DEFAULT_DECISIONS, NO_BLAME, TaskInfo

RESET = ("observation", "info")
STEP = ("observation", "reward", "terminated", "truncated", "info")
Env = gymnasium.Env[Any, Any]


def make_gymnasium(env_id: str) -> Env:
    """Build a registered environment, able to draw itself if it can.

    Raises:
        TaskError: No such id, or a package that it needs is missing.
    """
    try:
        env = gymnasium.make(env_id)
        if "rgb_array" in (env.metadata.get("render_modes") or ()):
            env.close()
            env = gymnasium.make(env_id, render_mode="rgb_array")
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        raise TaskError(f"gym:{env_id}: {' '.join(str(error).split())}") from error
    return env


class GymnasiumTask:
    """A Gymnasium environment behind the contract.

    Args:
        env: The environment; Box actions, observations a Box or a Dict of them.
        name: Canonical name.
        info: What is declared about the task.
        seed: Given to the first reset.
        blame: Entered around all that the environment does.

    Raises:
        TaskError: Its spaces are of another kind.
    """

    def __init__(
        self,
        env: Env,
        name: str,
        info: TaskInfo,
        seed: int,
        blame: AbstractContextManager[None] = NO_BLAME,
    ) -> None:
        self._env = env
        self._blame = blame
        self._name = name
        self._info = info
        self._seed: int | None = legacy_seed(seed)  # waits for the first reset
        self._decisions: int | None = None  # None: no episode is running
        with blame:
            space, observed = env.action_space, env.observation_space
        if not isinstance(space, spaces.Box):
            raise TaskError(
                f"{name}: expected Box actions (continuous control), got {_kind(space)}; "
                + _refusal(space)
            )
        self._dtype = space.dtype
        self._scale = ActionScale(name, space.shape, space.low, space.high)
        self._layout = StateLayout(name, _boxes(name, observed))
        self._spec = _describe(env, name, info, self._layout, self._scale)

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts."""
        return self._spec

    @property
    def physics(self) -> None:
        """None: Gymnasium has no common physics."""
        return

    def reset(self, seed: int | None = None) -> Obs:
        """Start an episode; `seed` restarts the random stream."""
        if seed is not None:
            self._seed = legacy_seed(seed)
        with self._blame:
            observation, _ = self._told(self._env.reset(seed=self._seed), RESET)
        self._seed = None
        self._decisions = 0
        return {"state": self._layout.read(observation)}

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """Repeat one action; the rewards add up, and an end cuts the repetition short."""
        if self._decisions is None:
            raise TaskError(f"{self._name}: expected reset() before step(), no episode is running")
        scaled = self._scale(action).astype(self._dtype)
        reward = 0.0
        with self._blame:
            for _ in range(self._info.action_repeat):
                outcome = self._told(self._env.step(scaled), STEP)
                observation, step_reward, terminated, truncated, told = outcome
                reward += float(step_reward)
                if terminated or truncated:
                    break
        if not math.isfinite(reward):
            raise ObservationError(f"{self._name}: expected a finite reward, got {reward}")
        self._decisions += 1
        cut = truncated or self._decisions >= self._spec.episode_decisions
        if terminated or cut:
            self._decisions = None
        obs: Obs = {"state": self._layout.read(observation)}
        success = told.get("success", told.get("is_success"))
        info = {} if success is None else {"success": bool(success)}
        return obs, reward, bool(terminated), bool(cut and not terminated), info

    def _told(self, outcome: Any, parts: Sequence[str]) -> Any:
        """What reset or step returned, once it has as many parts as Gymnasium's."""
        if not isinstance(outcome, tuple) or len(outcome) != len(parts):
            got = f"{len(outcome)} values" if isinstance(outcome, tuple) else type(outcome).__name__
            call = "reset()" if parts is RESET else "step()"
            raise TaskError(
                f"{self._name}: expected {call} to return ({', '.join(parts)}), got {got}; "
                "an environment of the older Gym needs shimmy's GymV21CompatibilityV0 around it"
            )
        return outcome

    def snapshot(self) -> None:
        """None: Gymnasium has no common way to tell the state."""
        return

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Refused: there is no snapshot to go back to."""
        del snapshot
        raise TaskError(
            f"{self._name}: expected an environment that can go back: Gymnasium's cannot"
        )

    def frame(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        """The environment's own picture, whatever the camera: (height, width, 3) uint8."""
        del camera  # it has one
        picture = None
        if self._env.render_mode == "rgb_array":
            try:
                picture = self._env.render()
            except gymnasium.error.Error as error:
                raise TaskError(f"{self._name}: {' '.join(str(error).split())}") from error
        if not isinstance(picture, np.ndarray):
            raise TaskError(
                f"{self._name}: expected render_mode='rgb_array' to draw, "
                f"got {self._env.render_mode!r}; make the environment with it"
            )
        # BOX takes the mean of an area, where other filters would skip pixels.
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
        return np.asarray(resized.convert("RGB")).copy()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _describe(
    env: Env, name: str, info: TaskInfo, layout: StateLayout, scale: ActionScale
) -> TaskSpec:
    repeat = info.action_repeat
    limit = env.spec.max_episode_steps if env.spec is not None else None
    own_limit = math.ceil(limit / repeat) if limit else DEFAULT_DECISIONS
    told = getattr(env.unwrapped, "dt", None)
    if not isinstance(told, int | float):
        fps = env.metadata.get("render_fps")
        told = 1.0 / fps if fps else DEFAULT_CONTROL_DT
    return TaskSpec(
        name=name,
        obs_shapes={"state": (layout.dim,)},
        action_dim=scale.dim,
        control_dt=repeat * float(info.control_dt or told),
        action_repeat=repeat,
        episode_decisions=info.episode_decisions or own_limit,
        episodic=True if info.episodic is None else info.episodic,
        obs_names=layout.names,
        action_bounds=scale.bounds,
    )


def _boxes(name: str, space: spaces.Space[Any], path: str = "") -> Any:
    """The space itself, or nested dicts of it, once every leaf is known to be a Box."""
    if isinstance(space, spaces.Dict):
        children = space.spaces.items()
        return {key: _boxes(name, child, f"{path}/{key}".lstrip("/")) for key, child in children}
    if not isinstance(space, spaces.Box):
        raise TaskError(
            f"{name}: expected Box observations, or a Dict of them, got {_kind(space)}"
            f"{f' as {path!r}' if path else ''}; gymnasium.wrappers.FlattenObservation may help"
        )
    return space


def _refusal(space: spaces.Space[Any]) -> str:
    """Why actions that are no Box are of no use, or what would make them one."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return "make one Box of its parts, with gymnasium.ActionWrapper"
    return "discrete actions cannot be planned"


def _kind(space: spaces.Space[Any]) -> str:
    return " ".join(str(space).split())
