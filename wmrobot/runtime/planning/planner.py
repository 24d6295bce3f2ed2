"""The planner of a bundle, closed loop: observations of B robots in, actions out. No torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np

from wmrobot.runtime.arrays import Array, BoolArray, FloatArray, IntArray, Obs
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.bundle.signatures import PLANNER
from wmrobot.runtime.errors import BundleError, ObservationError
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.runtime.planning.graph import Graph
from wmrobot.runtime.planning.noise import Noise, draw_noise, make_generator
from wmrobot.runtime.planning.observations import check_obs


class Previous(NamedTuple):
    """What the next plan starts from.

    Attributes:
        mean: (B, H, A) of the last plan, not yet shifted.
        valid: (B,) whether there is one; a row that is False starts afresh.
        elites: (B, E, H, A) that compete again, E = 0 but for iCEM.
    """

    mean: FloatArray
    valid: BoolArray
    elites: FloatArray


class Outputs(NamedTuple):
    """One plan of B robots.

    Attributes:
        action: (B, A) to execute, in [-1, 1]: the first of the mean.
        mean: (B, H, A) of the action sequence.
        std: (B, H, A) its spread.
        value: (B,) estimated return of the elites, weighted as the mean is.
        spread: (B,) weighted standard deviation of the elites' returns: how far the planner is from
            having decided.
        num_invalid: (B,) candidates of the last iteration that were not finite.
        elites: (B, E, H, A) that compete again.
    """

    action: FloatArray
    mean: FloatArray
    std: FloatArray
    value: FloatArray
    spread: FloatArray
    num_invalid: IntArray
    elites: FloatArray

    def as_previous(self) -> Previous:
        """What the next plan starts from."""
        return Previous(self.mean, np.ones(len(self.mean), dtype=np.bool_), self.elites)


class Planner:
    """An exported planner. It owns warm start, noise stream and frame stack.

    Args:
        bundle: Verified bundle.
        threads: Of onnxruntime.
        seed: Of the noise stream.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, seed: int = 0) -> None:
        self.bundle = bundle
        self._graph = Graph(bundle, PLANNER, threads)
        self._generator = make_generator(seed)
        pictures = bundle.description.pictures
        self._frames = FrameStack(1 if pictures is None else pictures.frame_stack)
        self._outputs: Outputs | None = None
        self._valid: BoolArray | None = None
        self._warm_up()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        threads: int = 1,
        seed: int = 0,
        expect_joints: Iterable[str] | None = None,
        expect_control_dt: float | None = None,
    ) -> Self:
        """Verify a bundle and load its planner.

        Args:
            folder: Where the bundle lies.
            threads: Of onnxruntime.
            seed: Of the noise stream.
            expect_joints: Joints of the robot, in order; refused where the bundle's differ.
            expect_control_dt: Time between the robot's decisions [s]; likewise.

        Raises:
            BundleError: Missing, altered, inconsistent, of a newer schema, or for another robot.
        """
        bundle = Bundle.read(
            folder, expect_joints=expect_joints, expect_control_dt=expect_control_dt
        )
        return cls(bundle, threads=threads, seed=seed)

    @property
    def description(self) -> Description:
        """What the planner was made for."""
        return self.bundle.description

    @property
    def outputs(self) -> Outputs:
        """What the last `act` planned."""
        assert self._outputs is not None, "outputs asked for before the first act"
        return self._outputs

    def reset(self, rows: Array | None = None) -> None:
        """Start the given rows afresh (all by default; the number of robots may then change)."""
        self._frames.reset(rows)
        if rows is None:
            self._outputs = self._valid = None
        elif self._valid is not None:
            self._valid[rows] = False

    def act(self, obs: Obs) -> FloatArray:
        """Plan from observations and choose actions (B, A) in [-1, 1]: the first of each mean.

        Args:
            obs: By modality, always with a first axis B: `state` (B, O) float32, every entry
                finite; `rgb` (B, C, height, width) uint8, the newest frame.

        Raises:
            ObservationError: Wrong shape or dtype, not finite, or nothing finite was predicted from
                it. The last good plan is kept.
        """
        batch = check_obs(obs, self.description.obs_shapes, self.description.batch)
        noise = draw_noise(self.description, batch, self._generator)
        outputs = self.plan(self._frames.push(obs), noise, self.previous(batch))
        _refuse_lost(outputs, self.description.search.num_samples)
        self._outputs, self._valid = outputs, np.ones(batch, dtype=np.bool_)
        return outputs.action

    def plan(self, obs: Obs, noise: Noise, previous: Previous) -> Outputs:
        """Plan once. Nothing is remembered: the same arguments give the same plan.

        Args:
            obs: As for `act`, but with the frames of `rgb` stacked along C, oldest first.
            noise: Drawn for this plan.
            previous: What to start from.
        """
        feed: dict[str, Array] = {f"obs_{name}": value for name, value in obs.items()}
        feed |= {f"noise_{name}": value for name, value in noise._asdict().items()}
        feed |= {f"prev_{name}": value for name, value in previous._asdict().items()}
        found = self._graph(feed)
        found.setdefault("elites", previous.elites)  # E is 0
        return Outputs(**cast("dict[str, FloatArray]", found))  # type: ignore[arg-type]

    def previous(self, batch: int) -> Previous:
        """What the next plan of `batch` robots starts from."""
        if self._outputs is None or self._valid is None or len(self._valid) != batch:
            return nothing_planned(self.description, batch)
        return self._outputs.as_previous()._replace(valid=self._valid.copy())

    def _warm_up(self) -> None:
        """Plan once for nothing: the first plan is slower, and shows whether the weights work."""
        description = self.description
        batch = description.batch or 1
        obs: dict[str, Array] = {
            name: np.zeros((batch, *shape), np.float32 if name == "state" else np.uint8)
            for name, shape in description.obs_shapes.items()
        }
        stacked = FrameStack(self._frames.depth).push(obs)
        noise = draw_noise(description, batch, make_generator(0))
        outputs = self.plan(stacked, noise, nothing_planned(description, batch))
        try:
            _refuse_lost(outputs, description.search.num_samples)
        except ObservationError:
            raise BundleError(
                f"{PLANNER}: expected a finite plan for an observation of zeros, got none; "
                "its weights are broken, export it again"
            ) from None


def nothing_planned(description: Description, batch: int) -> Previous:
    """What robots start from that have not planned yet."""
    sizes, action_dim = description.search, description.action_dim
    return Previous(
        mean=np.zeros((batch, sizes.horizon, action_dim), np.float32),
        valid=np.zeros(batch, dtype=np.bool_),
        elites=np.zeros((batch, sizes.num_kept, sizes.horizon, action_dim), np.float32),
    )


def _refuse_lost(outputs: Outputs, num_samples: int) -> None:
    lost = outputs.num_invalid == num_samples
    if lost.any() or not np.isfinite(outputs.mean).all():
        raise ObservationError(
            f"plan: expected a candidate with a finite return, got none for rows "
            f"{np.flatnonzero(lost).tolist()}; the model's weights or the observation's range are "
            "broken"
        )
