"""What a driver counts, and what it tells its window now and then."""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from wmrobot.core.clock import Clock

EVERY = 0.5  # [s]
RECENT = 500  # decisions that percentiles are told of


@dataclass(kw_only=True)
class Figures:
    """What a driver counts.

    Attributes:
        act_ms: Time of each decision, the newest ones [ms].
        late: Decisions that were not ready when the next one was due.
        ticks: Decisions altogether.
    """

    act_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    late: int = 0
    ticks: int = 0

    def add(self, act_s: float, control_dt: float) -> None:
        """Count a decision that took so long [s]."""
        self.act_ms.append(act_s * 1e3)
        self.late += act_s > control_dt
        self.ticks += 1

    def describe(self) -> str:
        """The newest decisions in a line."""
        if not self.act_ms:
            return ""
        p50, p99 = np.percentile(self.act_ms, (50, 99))
        late = f"{self.late} of {self.ticks} decisions late"
        return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {late}"


@dataclass(kw_only=True)
class Episode:
    """What a driver remembers of an episode.

    Attributes:
        number: Of all that were begun.
        decisions: So far.
        total: Its return so far; NaN where no reward is known.
    """

    number: int = 1
    decisions: int = 0
    total: float = 0.0

    @property
    def earned(self) -> str:
        """The return in words."""
        return "return -" if math.isnan(self.total) else f"return {self.total:.1f}"


class News:
    """Lines of text by name, and whether the window should be told of them.

    Args:
        clock: Keeps the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._told = clock, -math.inf
        self._facts: dict[str, str] = {}
        self.changed = True

    def tell(self, **facts: str) -> None:
        """Remember lines by name; underscores are spaces."""
        self._facts.update({name.replace("_", " "): text for name, text in facts.items()})

    @property
    def is_due(self) -> bool:
        """Whether something has changed, or the window was last told some time ago."""
        return self.changed or self._clock.now() - self._told >= EVERY

    def take(self) -> dict[str, str]:
        """All lines, which the caller tells now."""
        self._told, self.changed = self._clock.now(), False
        return dict(self._facts)
