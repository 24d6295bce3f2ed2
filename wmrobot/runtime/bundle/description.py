"""What a bundle says of its planner, as far as the runtime acts on it.

The rest (versions, evaluation, gains) is for people and stays in `Description.document`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.errors import BundleError


@dataclass(frozen=True, kw_only=True)
class SensorTerm:
    """One number that the robot measures.

    Attributes:
        name: As the task calls it.
        unit: Physical unit; None where the task does not tell.
        scale: Multiplies the measured number.
        offset: Is added after that.
        clip: What the result is limited to, low and high; None leaves it as it is.
    """

    name: str
    unit: str | None
    scale: float
    offset: float
    clip: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class StateDescription:
    """How `state` is made of what the robot measures.

    Attributes:
        terms: R sensor terms, in order.
        history: Newest measurements stacked, newest last.
        previous_actions: Newest actions appended after them, newest last.
        dim: O, length of `state`.
    """

    terms: tuple[SensorTerm, ...]
    history: int
    previous_actions: int
    dim: int


@dataclass(frozen=True, kw_only=True)
class PictureDescription:
    """What `rgb` is.

    Attributes:
        shape: (C, height, width) of the newest frame, uint8; 3 channels a camera.
        frame_stack: Frames that the graph sees.
        cameras: Name of each camera, in order of the channels.
    """

    shape: tuple[int, ...]
    frame_stack: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ActionTerm:
    """What one entry of an action means to its actuator: `offset + scale * action`.

    Attributes:
        name: Actuator.
        unit: Of its command; None where the task does not tell.
        scale: Half of its range.
        offset: Middle of its range.
        limits: Its range, low and high.
    """

    name: str
    unit: str | None
    scale: float
    offset: float
    limits: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SearchSizes:
    """Sizes of the search; see `runtime/arrays.py` for the letters.

    Attributes:
        horizon: H.
        iterations: I.
        num_samples: N.
        num_elites: K.
        num_prior: P.
        num_kept: E.
        num_q: Value heads, two of which each iteration averages.
        latent_dim: Z.
        noise_beta: Exponent of the noise's power spectrum along the horizon; 0 is white.
        max_std: Spread that the search starts with.
    """

    horizon: int
    iterations: int
    num_samples: int
    num_elites: int
    num_prior: int
    num_kept: int
    num_q: int
    latent_dim: int
    noise_beta: float
    max_std: float


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a planner was made for.

    Attributes:
        task: Name of the task.
        batch: B that the graphs are made for; None for any.
        precision: Of the graphs' weights.
        control_dt: Time between two decisions [s].
        state: Where the planner sees `state`.
        pictures: Where it sees `rgb`.
        actions: One term an entry of the action, in order.
        joints: Names of the robot's joints, in the order of its model.
        search: Sizes of the planner.
        document: All of `planner.json`.
    """

    task: str
    batch: int | None
    precision: str
    control_dt: float
    state: StateDescription | None
    pictures: PictureDescription | None
    actions: tuple[ActionTerm, ...]
    joints: tuple[str, ...]
    search: SearchSizes
    document: Mapping[str, Any]

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.actions)

    @property
    def obs_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one observation by modality, of one frame for pictures."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.state is not None:
            shapes["state"] = (self.state.dim,)
        if self.pictures is not None:
            shapes["rgb"] = self.pictures.shape
        return shapes

    def to_actuators(self, action: FloatArray) -> npt.NDArray[np.float64]:
        """Actions (..., A) in [-1, 1] in the actuators' own units."""
        scale = np.array([term.scale for term in self.actions])
        offset = np.array([term.offset for term in self.actions])
        clipped = np.clip(action.astype(np.float64), -1.0, 1.0)
        result: npt.NDArray[np.float64] = offset + scale * clipped
        return result

    def check_robot(
        self, joints: Iterable[str] | None = None, control_dt: float | None = None
    ) -> None:
        """Refuse a robot that the planner was not made for.

        Args:
            joints: Names of the robot's joints, in the order of its driver.
            control_dt: Time between two of its decisions [s].

        Raises:
            BundleError: They differ from the bundle's.
        """
        if joints is not None and tuple(joints) != self.joints:
            raise BundleError(
                f"joints: the planner was made for {list(self.joints)}, got {list(joints)}; "
                "bring the robot's joints into that order, or export for this robot"
            )
        if control_dt is not None and not abs(control_dt - self.control_dt) <= 1e-6:
            raise BundleError(
                f"control_dt: the planner was made for {self.control_dt:g} s between decisions, "
                f"got {control_dt:g} s; run the robot at that rate, or export for this one"
            )
