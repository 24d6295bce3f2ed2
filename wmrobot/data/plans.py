"""What the planner thought best at each decision that the replay holds."""

from typing import NamedTuple

import torch
from torch import Tensor

from wmrobot.core.spec import Array, FloatArray
from wmrobot.data.memory import send


class PlannedAction(NamedTuple):
    """Gaussian over the first action of a plan; a spread of 0 says that none is known.

    Attributes:
        mean: (..., A).
        std: (..., A).
    """

    mean: Tensor
    std: Tensor

    @property
    def known(self) -> Tensor:
        """(...,) whether there is a plan."""
        return self.std[..., 0] > 0


class PlanTable:
    """One `PlannedAction` for every row of every ring.

    Unlike all else in the replay its entries change after they were written: an old decision is
    planned again by a better model. A checkpoint therefore holds the whole table.

    Args:
        num_rows: Rows of one ring.
        num_envs: Rings.
        action_dim: A.
        device: Where it is stored.
    """

    def __init__(
        self, *, num_rows: int, num_envs: int, action_dim: int, device: torch.device | str
    ) -> None:
        self._table = torch.zeros(num_rows, num_envs, 2, action_dim, device=device)

    def put(self, slots: Array, columns: Array, plan: PlannedAction | None) -> None:
        """Write plans (n, A) at slots (n,) of rings (n,); None forgets what was there."""
        device = self._table.device
        place = send(torch.from_numpy(slots), device), send(torch.from_numpy(columns), device)
        both = 0.0 if plan is None else torch.stack(plan, dim=1).to(self._table)
        self._table[place] = both

    def take(self, slots: Tensor, columns: Tensor) -> PlannedAction:
        """Plans at slots (..., n) of rings (n,)."""
        mean, std = self._table[slots, columns].unbind(-2)
        return PlannedAction(mean.contiguous(), std.contiguous())

    def state(self) -> FloatArray:
        """A copy of the whole table."""
        table: FloatArray = self._table.to("cpu", copy=True).numpy()
        return table

    def load_state(self, state: FloatArray) -> None:
        """Go on where `state` was taken, of this table or of a shorter one."""
        self._table[: len(state)] = torch.from_numpy(state)
