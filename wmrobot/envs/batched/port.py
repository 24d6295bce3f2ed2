"""What a domain gives to the batched engine."""

from collections.abc import Sequence
from typing import Protocol

from wmrobot.envs.batched.tolerance import Floats

XX, XZ, ZX, ZZ = 0, 2, 6, 8
"""Entries of a body's orientation (`xmat`): the world's axis, then the body's."""
ZZ_XZ = slice(ZZ, XZ - 1, XZ - ZZ)
"""The two entries that tell a planar angle: cosine, then sine."""


class Port(Protocol):
    """A domain's observations and rewards, over all rows.

    It is made of a `mujoco.batch.Batch`, whose model is that of a task after its first reset, and
    of the task's name within its domain. It holds live views of what the batch computes.
    """

    def observe(self) -> Sequence[Floats]:
        """Parts of `state`, each (B, n), in dm_control's order."""
        ...

    def reward(self) -> Floats:
        """(B,) rewards of the control step that ended."""
        ...
