"""Any `dm_env.Environment` as a `TaskEnv`: flat observation, scaled actions, repeated decisions."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import dm_env
import numpy as np
from dm_control.rl import control

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.seeds import legacy_seed
from wmrobot.core.spec import FloatArray, Obs, TaskSpec
from wmrobot.envs.actions import ActionScale
from wmrobot.envs.observations import StateLayout, is_numbers, kind
from wmrobot.envs.render import Renderer, make_renderer
from wmrobot.envs.simulation_state import SimulationState
from wmrobot.envs.task import DEFAULT_CONTROL_DT, DEFAULT_DECISIONS, NO_BLAME, TaskInfo


class DmTask:
    """A dm_env environment behind the contract.

    Args:
        env: The environment.
        factory: Builds another one from a seed.
        name: Canonical name.
        info: What is declared about the task.
        blame: Entered around all that the environment does.
    """

    def __init__(
        self,
        env: dm_env.Environment,
        factory: Callable[[int], Any],
        name: str,
        info: TaskInfo,
        blame: AbstractContextManager[None] = NO_BLAME,
    ) -> None:
        self._factory = factory
        self._name = name
        self._info = info
        self._blame = blame
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._decisions: int | None = None  # None: no episode is running
        self._adopt(env)

    def _adopt(self, env: Any) -> None:
        self._env = env
        with self._blame:
            spec, observed = env.action_spec(), self._observed(env)
        low, high = getattr(spec, "minimum", -math.inf), getattr(spec, "maximum", math.inf)
        self._scale = ActionScale(self._name, spec.shape, low, high)
        self._layout = StateLayout(self._name, observed)
        self._state = SimulationState(env) if isinstance(env, control.Environment) else None
        self._spec = _describe(env, self._name, self._info, self._layout, self._scale)

    def _observed(self, env: Any) -> Any:
        """What it tells of its observations; dm_control asks each for its shape, unchecked."""
        try:
            return env.observation_spec()
        except AttributeError:
            if isinstance(env, control.Environment):
                self._refuse_odd(env.task.get_observation(env.physics))
            raise

    def _refuse_odd(self, observation: Any) -> None:
        expected = f"{self._name}: expected a dict of arrays from the task's get_observation"
        if not isinstance(observation, Mapping):
            raise TaskError(f"{expected}, got {kind(observation)}")
        for key, value in observation.items():
            if not is_numbers(value):
                raise TaskError(
                    f"{expected}, got {kind(value)} as '{key}'; np.array(...) makes an array of "
                    "numbers"
                )

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts."""
        return self._spec

    @property
    def task(self) -> Any | None:
        """The dm_control task, None where there is none."""
        return getattr(self._env, "task", None)

    @property
    def physics(self) -> Any | None:
        """The dm_control physics, None where there is none."""
        return getattr(self._env, "physics", None)

    @property
    def env(self) -> Any:
        """The environment itself."""
        return self._env

    @property
    def scale(self) -> ActionScale:
        """From actions in [-1, 1] to the environment's own."""
        return self._scale

    @property
    def layout(self) -> StateLayout:
        """Order and names of what is observed."""
        return self._layout

    @property
    def decisions(self) -> int | None:
        """Decisions of the running episode; None where none is running."""
        return self._decisions

    @decisions.setter
    def decisions(self, count: int) -> None:
        """Say how many decisions another simulator has taken the physics through."""
        self._decisions = count
        self._env._step_count = count * self._info.action_repeat

    def reset(self, seed: int | None = None) -> Obs:
        """Start an episode; `seed` restarts the random stream."""
        if seed is not None:
            self._reseed(legacy_seed(seed))
        with self._blame:
            timestep = self._env.reset()
        self._decisions = 0
        return {"state": self._layout.read(timestep.observation)}

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """Repeat one action; the rewards add up, and an end cuts the repetition short."""
        if self._decisions is None:
            raise TaskError(f"{self._name}: expected reset() before step(), no episode is running")
        timestep, reward = self._repeat(action)
        self._decisions += 1
        terminated = timestep.last() and timestep.discount == 0.0
        ended = timestep.last() or self._decisions >= self._spec.episode_decisions
        if ended:
            self._decisions = None
        obs: Obs = {"state": self._layout.read(timestep.observation)}
        info = {}
        if (success := getattr(self.task, "success", None)) is not None:
            with self._blame:
                told = success(self.physics)
            if np.ndim(told):
                raise ObservationError(
                    f"{self._name}: expected True or False from the task's success, "
                    f"got {_kind(told)}"
                )
            info["success"] = bool(told)
        return obs, reward, bool(terminated), bool(ended and not terminated), info

    def _repeat(self, action: FloatArray) -> tuple[dm_env.TimeStep, float]:
        scaled = self._scale(action)
        reward = 0.0
        with self._blame:
            try:
                for _ in range(self._info.action_repeat):
                    timestep = self._env.step(scaled)
                    self._check(timestep)
                    reward += timestep.reward
                    if timestep.last():
                        break
            except control.PhysicsError as error:
                raise ObservationError(f"{self._name}: the simulation diverged: {error}") from error
        if not math.isfinite(reward):
            raise ObservationError(f"{self._name}: expected a finite reward, got {reward}")
        return timestep, float(reward)

    def _check(self, timestep: dm_env.TimeStep) -> None:
        """Refuse what would be taken for something else, or break later where nobody is blamed."""
        if timestep.reward is None or np.ndim(timestep.reward):
            raise ObservationError(
                f"{self._name}: expected a number as reward, got {_kind(timestep.reward)}; "
                "does the task's get_reward return it?"
            )
        # False, Gymnasium's word for an episode that goes on, is no None: it would end, as at 0.0
        if isinstance(timestep.discount, bool | np.bool_):
            raise ObservationError(
                f"{self._name}: expected None, 0.0 or 1.0 from the task's get_termination, got "
                f"{timestep.discount}; None goes on, 0.0 terminates an episode, 1.0 truncates it"
            )

    def snapshot(self) -> dict[str, Any] | None:
        """The exact state; None without a dm_control task whose state can be told."""
        saved = None if self._state is None else self._state.save()
        return None if saved is None else {"decisions": self._decisions, **saved}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        if self._state is None:
            raise TaskError(
                f"{self._name}: expected a dm_control environment: others cannot go back"
            )
        self._state.load(snapshot)
        self._decisions = snapshot["decisions"]

    def frame(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        """One picture for people, (height, width, 3) uint8."""
        if self.physics is None:
            raise TaskError(f"{self._name}: expected a MuJoCo physics to draw, got none")
        size = (height, width)
        if size not in self._renderers:
            self._renderers[size] = make_renderer(
                self.physics, height=height, width=width, mode="exact"
            )
        if camera == 0 and self.physics.model.ncam == 0:
            camera = -1  # a robot's own file need not hold a camera: the free one sees all of it
        return self._renderers[size].picture(camera)

    def close(self) -> None:
        """Free renderers and simulator."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        self._env.close()
        free = getattr(self.physics, "free", None)
        if free is not None:
            free()

    def _reseed(self, seed: int) -> None:
        stream = getattr(self.task, "random", None)
        if isinstance(stream, np.random.RandomState):
            stream.seed(seed)
        else:  # where the seed goes is known to the factory alone
            self.close()
            self._adopt(self._factory(seed))


def _describe(
    env: Any, name: str, info: TaskInfo, layout: StateLayout, scale: ActionScale
) -> TaskSpec:
    repeat = info.action_repeat
    limit = getattr(env, "_step_limit", math.inf)  # dm_control tells it nowhere else
    own_limit = math.ceil(limit / repeat - 1e-9) if math.isfinite(limit) else DEFAULT_DECISIONS
    control_dt = info.control_dt or getattr(env, "control_timestep", lambda: DEFAULT_CONTROL_DT)()
    return TaskSpec(
        name=name,
        obs_shapes={"state": (layout.dim,)},
        action_dim=scale.dim,
        control_dt=repeat * control_dt,
        action_repeat=repeat,
        episode_decisions=info.episode_decisions or own_limit,
        episodic=_can_terminate(env) if info.episodic is None else info.episodic,
        obs_names=layout.names,
        action_names=_actuator_names(env, scale.dim),
        action_bounds=scale.bounds,
    )


def _can_terminate(env: Any) -> bool:
    """Whether a dm_control task says when to stop; of any other environment it is assumed."""
    if not isinstance(env, control.Environment):
        return True
    return type(env.task).get_termination is not control.Task.get_termination


def _actuator_names(env: Any, action_dim: int) -> tuple[str, ...]:
    """Names from the model, where each entry of an action is one actuator."""
    physics = getattr(env, "physics", None)
    if physics is None or physics.model.nu != action_dim:
        return ()
    return tuple(physics.model.id2name(i, "actuator") for i in range(action_dim))


def _kind(value: Any) -> str:
    return f"an array of shape {np.shape(value)}" if np.ndim(value) else str(value)
