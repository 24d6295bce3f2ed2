"""What one driven episode leaves behind: pictures, rewards, actions, and imagined plans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmrobot.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class EpisodeTrace:
    """One driven episode: T decisions, each planned H decisions ahead over A actuators.

    Attributes:
        frames: T pictures (height, width, 3) uint8, each taken when its decision was.
        rewards: (T,) reward that each decision earned.
        actions: (T, A) executed, in [-1, 1].
        plans: (T, H, A) mean of each decision's plan; its first row is what was then executed, but
            for noise.
        imagined: (T,) return that each plan expected, from there on.
        control_dt: Time between decisions [s].
        title: What is seen, for instance `cartpole-swingup, planner`.
        action_names: A names.
        plan_ms: (T,) time that planning took [ms].
    """

    frames: Sequence[np.ndarray]
    rewards: np.ndarray
    actions: np.ndarray
    plans: np.ndarray
    imagined: np.ndarray
    control_dt: float
    title: str
    action_names: tuple[str, ...]
    plan_ms: np.ndarray

    def __post_init__(self) -> None:
        steps, action_dim = self.actions.shape
        shapes = {
            "frames": ((len(self.frames),), (steps,)),
            "rewards": (self.rewards.shape, (steps,)),
            "plans": (self.plans.shape[::2], (steps, action_dim)),
            "imagined": (self.imagined.shape, (steps,)),
            "action_names": ((len(self.action_names),), (action_dim,)),
            "plan_ms": (self.plan_ms.shape, (steps,)),
        }
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise DataError(f"trace.{name}: expected shape {expected}, got {got}")
        if steps == 0:
            raise DataError("trace: expected one decision at least, got none")
