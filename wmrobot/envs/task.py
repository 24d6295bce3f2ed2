"""How a task is declared, and the contract that every built environment fulfils.

A task is a function `(seed: int) -> environment`, where the environment is a `dm_env.Environment`
or a `gymnasium.Env` whose every random choice follows from the seed. A dm_control task may offer
more, by methods:

* `success(physics) -> bool`: whether the episode so far is a success;
* `get_state() -> dict` and `set_state(state)`: what the future depends on beyond MuJoCo's state and
  the task's plain attributes (see `envs/attributes.py`).
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from wmrobot.core.errors import ConfigError
from wmrobot.core.spec import FloatArray, Obs, TaskSpec

Factory = TypeVar("Factory", bound=Callable[..., Any])
INFO_ATTRIBUTE = "wmrobot_task"
# of environments that tell none
DEFAULT_DECISIONS = 1000
DEFAULT_CONTROL_DT = 0.05  # [s]
NO_BLAME = nullcontext()  # errors are told as they are, for a task that is nobody's file
RenderMode = Literal["exact", "near", "fast", "ray"]


@dataclass(frozen=True, kw_only=True)
class ParameterRange:
    """One physical parameter, drawn anew at every reset.

    Attributes:
        target: `<mjModel field>[<object name>]`, for instance `body_mass[arm]` or
            `dof_damping[pole_hinge]`; or a name without brackets, which is handed to the
            environment's `set_parameters` (motor constants, deadbands).
        low: Lower bound, in the parameter's own unit, or as a factor where `scale` is set.
        high: Upper bound, included.
        scale: Multiply the nominal value instead of replacing it.
        log: Draw log-uniformly.
    """

    target: str
    low: float
    high: float
    scale: bool = False
    log: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low <= self.high):
            raise ConfigError(
                f"range of {self.target}: expected finite low <= high, got {self.low}..{self.high}"
            )
        if self.log and self.low <= 0:
            raise ConfigError(f"range of {self.target}: a log range needs low > 0, got {self.low}")


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """What differs between the robot and its simulation. All off by default, as for suite tasks.

    Attributes:
        parameters: Physical parameters by reset.
        obs_noise_std: Standard deviation of white noise on `state` (in its own units, every entry).
        action_delay: Fewest and most decisions that a command waits before it acts; drawn per
            decision (jitter).
        obs_history: Newest `state` observations stacked into one, newest last.
        previous_actions: Newest commands appended to `state`, newest last.
    """

    parameters: tuple[ParameterRange, ...] = ()
    obs_noise_std: float = 0.0
    action_delay: tuple[int, int] = (0, 0)
    obs_history: int = 1
    previous_actions: int = 0

    def __post_init__(self) -> None:
        low, high = self.action_delay
        if not 0 <= low <= high:
            raise ConfigError(f"action_delay: expected 0 <= low <= high, got {self.action_delay}")
        if self.obs_noise_std < 0 or self.obs_history < 1 or self.previous_actions < 0:
            raise ConfigError(
                "randomization: expected obs_noise_std >= 0, obs_history >= 1 and "
                f"previous_actions >= 0, got {self.obs_noise_std}, {self.obs_history} and "
                f"{self.previous_actions}"
            )


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What an environment cannot tell about itself.

    Attributes:
        action_repeat: Control steps that one decision lasts.
        episode_decisions: Decisions after which an episode is truncated; None leaves it to the
            environment's own time limit (and to 1,000 where it has none).
        cameras: Cameras that `obs=rgb` sees, by name or index.
        episodic: Whether an episode can terminate before it is truncated; None finds out, and
            assumes that it can where the environment does not tell.
        control_dt: Time that a control step lasts [s]; None asks the environment, and takes 0.05
            where it does not tell.
        randomization: Differences between robot and simulation.
    """

    action_repeat: int = 1
    episode_decisions: int | None = None
    cameras: tuple[int | str, ...] = (0,)
    episodic: bool | None = None
    control_dt: float | None = None
    randomization: Randomization = Randomization()

    def __post_init__(self) -> None:
        given: object = self.cameras
        if isinstance(given, str):  # whose letters would be taken for names
            raise ConfigError(
                "task: expected cameras to be a tuple of names or indices, "
                f"got {given!r}; did you mean ({given!r},)?"
            )
        if (
            self.action_repeat < 1
            or (1 if self.episode_decisions is None else self.episode_decisions) < 1
            or not self.cameras
        ):
            raise ConfigError(
                "task: expected action_repeat >= 1, episode_decisions >= 1 and a camera, "
                f"got {self.action_repeat}, {self.episode_decisions} and {self.cameras}"
            )


def task(info: TaskInfo | None = None, **changes: Any) -> Callable[[Factory], Factory]:
    """Mark a function `(seed: int) -> dm_env or Gymnasium environment` as a task.

    The mark is optional: an unmarked function is a task with the defaults of `TaskInfo`.

    Args:
        info: Start from this one (for a variant of another task).
        **changes: Fields of `TaskInfo`.
    """
    marked = replace(info or TaskInfo(), **changes)

    def mark(factory: Factory) -> Factory:
        setattr(factory, INFO_ATTRIBUTE, marked)
        return factory

    return mark


class TaskEnv(Protocol):
    """One built environment: suite, ours, a user's file and Gymnasium all end in one of these."""

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts."""
        ...

    @property
    def physics(self) -> Any | None:
        """The dm_control physics (`.model.ptr` and `.data.ptr` are MuJoCo's own), None without."""
        ...

    def reset(self, seed: int | None = None) -> Obs:
        """Start an episode and return one observation; `seed` restarts the random stream."""
        ...

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One decision, for a (A,) action in [-1, 1].

        Returns:
            obs, reward, terminated, truncated, info (which may hold `success`).
        """
        ...

    def snapshot(self) -> dict[str, Any] | None:
        """All that the future depends on, as a tree of arrays and JSON; None if not known."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot: what follows is bit-identical to what followed it then."""
        ...

    def frame(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        """One picture for people, (height, width, 3) uint8."""
        ...

    def close(self) -> None:
        """Free the simulator and the renderer."""
        ...
