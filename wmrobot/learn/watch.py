"""Which figure of a diverging run stopped being a number first, and in which update."""

from collections.abc import Mapping

import torch
from torch import Tensor

_FIRST = (
    "consistency_loss",
    "reward_loss",
    "value_loss",
    "termination_loss",
    "state_loss",
    "total_loss",
    "grad_norm",
    "value_mean",
    "value_scale",
    "prior_loss",
    "prior_entropy",
    "prior_grad_norm",
)
"""Causes before effects: of several that break in one update, the earliest here is named."""


class Watch:
    """Remembers where each figure of the updates was first not finite. Never waits for a device."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._broken: Tensor | None = None

    def note(self, metrics: Mapping[str, Tensor], update: int) -> None:
        """Look at the figures of one update.

        Args:
            metrics: Scalars by name, the same names every time, on one device.
            update: Number of the update, counted from 1.
        """
        if not metrics:
            return
        finite = torch.stack(list(metrics.values())).isfinite()
        if self._broken is None:
            self._names = tuple(metrics)
            self._broken = torch.zeros(len(metrics), dtype=torch.long, device=finite.device)
        is_new = ~finite & (self._broken == 0)
        self._broken = self._broken.masked_fill(is_new, update)

    def first(self) -> tuple[str, int] | None:
        """Name and update of what broke first; None where nothing did."""
        if self._broken is None:
            return None
        updates = dict(zip(self._names, self._broken.tolist(), strict=True))
        broken = {name: update for name, update in updates.items() if update}
        if not broken:
            return None

        def rank(name: str) -> tuple[int, int]:
            return broken[name], _FIRST.index(name) if name in _FIRST else len(_FIRST)

        name = min(broken, key=rank)
        return name, broken[name]
