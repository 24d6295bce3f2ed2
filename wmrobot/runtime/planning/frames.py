"""Newest frames of B robots, stacked along C as the replay stacks them. Training uses it too."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wmrobot.runtime.arrays import Array, Obs


class FrameStack:
    """Stacks pictures; other modalities pass through.

    Args:
        depth: Frames to stack; an episode's first frame fills the places before it.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._frames: Array | None = None  # (B, depth, C, height, width), oldest first
        self._fresh: Array | None = None  # (B,) rows whose next frame is their first

    def reset(self, rows: Array | None = None) -> None:
        """The given rows (all by default) start an episode with the next frame."""
        if rows is None:
            self._frames = self._fresh = None
        elif self._fresh is not None:
            self._fresh[rows] = True

    def push(self, obs: Obs) -> dict[str, Array]:
        """Take the newest frames, `rgb` (B, C, height, width); stack them.

        Returns:
            The same, with `rgb` (B, depth * C, height, width), oldest frame first.
        """
        if "rgb" not in obs:
            return dict(obs)
        frame = obs["rgb"]
        if self._frames is None or self._fresh is None or len(self._frames) != len(frame):
            self._frames = np.repeat(frame[:, None], self.depth, axis=1)
        else:
            self._frames = np.concatenate([self._frames[:, 1:], frame[:, None]], axis=1)
            self._frames[self._fresh] = frame[self._fresh, None]
        self._fresh = np.zeros(len(frame), dtype=np.bool_)
        return {**obs, "rgb": self._frames.reshape(len(frame), -1, *frame.shape[2:])}

    def state(self) -> dict[str, Any]:
        """Frames held, as a tree."""
        if self._frames is None or self._fresh is None:
            return {}
        return {"frames": self._frames.copy(), "fresh": self._fresh.copy()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._frames, self._fresh = (
            np.array(state[name]) if name in state else None for name in ("frames", "fresh")
        )
