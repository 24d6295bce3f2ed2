"""What a task offers to the rest of the house, in numbers.

Numpy only: simulator processes import it.

Axis letters used everywhere, always in this order: **B** robots or samples, **N** candidates,
**H** horizon, last the feature (**O** observation, **A** action, **Z** latent, **M** bins). Extra
leading axes: **I** iterations, **Q** value heads. Pictures are (C, height, width) uint8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from wmrobot.core.errors import TaskError

ObsMode = Literal["state", "rgb", "state+rgb"]
Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Obs = dict[str, Array]
"""One array per modality: `state` (B, O) float32, `rgb` (B, C, 64, 64) uint8, newest frame only."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Static facts of a built task, as the model, the planner and the reports need them.

    Attributes:
        name: Canonical name, for instance `walker-run`.
        obs_shapes: Shape of one observation per modality: `state` (O,), `rgb` (C, height, width)
            of one frame.
        action_dim: Number of actuators; every action lies in [-1, 1].
        control_dt: Time between two decisions [s], action repeat included.
        action_repeat: Control steps of the simulator that one decision lasts.
        episode_decisions: Decisions after which an episode is truncated.
        episodic: Whether an episode can terminate (end with value 0) before that.
        obs_names: Name of each entry of `state`, in order, where the task tells them.
        action_names: Name of each actuator, in order.
        action_bounds: What -1 stands for, for each actuator in its own unit, then what 1 does.
    """

    name: str
    obs_shapes: Mapping[str, tuple[int, ...]]
    action_dim: int
    control_dt: float
    action_repeat: int
    episode_decisions: int
    episodic: bool
    obs_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    action_bounds: tuple[tuple[float, ...], ...] = ()

    def blank_obs(self, robots: int) -> dict[str, Array]:
        """Observations (B, ...) of zeros, to rehearse with."""
        return {
            name: np.zeros((robots, *shape), dtype=np.uint8 if name == "rgb" else np.float32)
            for name, shape in self.obs_shapes.items()
        }


def find_change(then: TaskSpec, now: TaskSpec) -> str | None:
    """What is another task's now, in words; names and bounds count where both tell them."""
    differences = [
        *(
            (f"{name} observations", s, now.obs_shapes.get(name))
            for name, s in then.obs_shapes.items()
        ),
        ("actuators", then.action_dim, now.action_dim),
        ("control_dt [s]", round(then.control_dt, 9), round(now.control_dt, 9)),
        ("names of observations", then.obs_names, now.obs_names or then.obs_names),
        ("names of actuators", then.action_names, now.action_names or then.action_names),
        ("action bounds", then.action_bounds, now.action_bounds or then.action_bounds),
    ]
    for what, expected, got in differences:
        if expected and expected != got:
            return f"expected {what} {expected}, got {got}"
    return None


def refuse_changed(then: TaskSpec, now: TaskSpec) -> None:
    """Refuse a task that is not what something was made for.

    Raises:
        TaskError: Sizes, times, names or bounds differ.
    """
    change = find_change(then, now)
    if change is not None:
        raise TaskError(
            f"{then.name}: it has changed since training: {change}; put the task back as it was, "
            "the same for every seed, or train anew"
        )


def file_name(task: str) -> str:
    """A task's name as the name of a file or a folder."""
    return task.rpartition("/")[2].replace(":", "-")


def is_same_task(one: str, other: str) -> bool:
    """Whether two names are of one task; a user's file may have moved to another folder."""
    of_files = ".py:" in one and ".py:" in other
    return one == other or (of_files and file_name(one) == file_name(other))


@dataclass(kw_only=True, slots=True)
class Step:
    """One decision of B environments. Not to be changed; to freeze it costs 0.6 us a decision.

    Attributes:
        obs: What to act on next; where an episode ended, the first observation of the next one.
        reward: (B,) sum over the action repeat.
        terminated: (B,) the episode ended and nothing is worth anything after it.
        truncated: (B,) the episode was cut; its value goes on.
        final_obs: What the action led to; differs from `obs` only where an episode ended.
        success: (B,) whether the task calls the episode so far a success.
        success_told: (B,) whether it tells; where it does not, `success` is False.
    """

    obs: Obs
    reward: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    final_obs: Obs
    success: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    success_told: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    @property
    def ended(self) -> BoolArray:
        """(B,) the episode ended, either way."""
        return self.terminated | self.truncated
