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


@dataclass(kw_only=True, slots=True)
class Step:
    """One decision of B environments. Not to be changed; to freeze it costs 0.6 us a decision.

    Attributes:
        obs: What to act on next; where an episode ended, the first observation of the next one.
        reward: (B,) sum over the action repeat.
        terminated: (B,) the episode ended and nothing is worth anything after it.
        truncated: (B,) the episode was cut; its value goes on.
        final_obs: What the action led to; differs from `obs` only where an episode ended.
        success: (B,) whether the task calls the episode so far a success (False where it does not
            tell).
    """

    obs: Obs
    reward: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    final_obs: Obs
    success: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    @property
    def ended(self) -> BoolArray:
        """(B,) the episode ended, either way."""
        return self.terminated | self.truncated
