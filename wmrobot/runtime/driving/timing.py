"""What a planner measures of time: the robot's clock, the way there and back, its own stages."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

_T = TypeVar("_T")
MS = 1_000_000  # [ns]
LIKELY = 0.9
"""Share of the runs that a budget is made for."""
STAGES = ("encode", "step", "propose", "refine", "choose")


class Recent:
    """The newest values of something, and their quantiles.

    Args:
        size: Values to keep.
    """

    def __init__(self, size: int = 128) -> None:
        self._values: deque[int] = deque(maxlen=size)
        self._sorted: list[int] | None = None

    def __len__(self) -> int:
        return len(self._values)

    @property
    def newest(self) -> int:
        """The last one taken."""
        return self._values[-1]

    def add(self, value: int) -> None:
        """Take one."""
        self._values.append(value)
        self._sorted = None

    def quantile(self, q: float, default: int = 0) -> int:
        """Smallest kept value that at least a share `q` does not exceed."""
        if not self._values:
            return default
        if self._sorted is None:
            self._sorted = sorted(self._values)
        return self._sorted[max(math.ceil(q * len(self._sorted)) - 1, 0)]


class RobotTime:
    """The robot's clock as seen from here.

    The offset is the smallest of (arrival here - stamp there) over a window: true offset plus the
    fastest way from the robot. A command's arrival, told by the robot in its own clock, then gives
    the way there and back. Neither way is known alone, and neither has to be: a plan is in time if
    it leaves here one whole round before it is due by this clock.

    Args:
        window: Readings to look back at; clocks drift apart slowly.
    """

    def __init__(self, window: int = 512) -> None:
        self._offsets: deque[int] = deque(maxlen=window)
        self._smallest: int | None = None
        self.age = Recent()
        """How much later than the fastest one each reading came [ns]."""
        self.round_trip = Recent()
        """From a reading's stamp to a command's arrival, planning left out [ns]."""

    @property
    def offset_ns(self) -> int:
        """Time here minus time there [ns]."""
        assert self._smallest is not None, "asked for before the first reading"
        return self._smallest

    def heard(self, stamp_ns: int, arrived_ns: int) -> None:
        """A reading that was stamped there has arrived here."""
        offset = arrived_ns - stamp_ns
        leaves = len(self._offsets) == self._offsets.maxlen and self._offsets[0] == self._smallest
        self._offsets.append(offset)
        if leaves:
            self._smallest = min(self._offsets)
        elif self._smallest is None or offset < self._smallest:
            self._smallest = offset
        assert self._smallest is not None
        self.age.add(offset - self._smallest)

    def answered(self, sent_ns: int, received_ns: int) -> None:
        """A command that left here at `sent_ns` arrived there at `received_ns`."""
        self.round_trip.add(max(received_ns + self.offset_ns - sent_ns, 0))

    def here(self, there_ns: int) -> int:
        """A time of the robot's by this clock [ns]."""
        return there_ns + self.offset_ns

    def there(self, here_ns: int) -> int:
        """A time of this clock by the robot's [ns]."""
        return here_ns - self.offset_ns


class Costs:
    """How long the stages of a plan take here and now."""

    def __init__(self) -> None:
        self._taken: Mapping[str, Recent] = {name: Recent() for name in STAGES}

    def add(self, stage: str, taken_ns: int) -> None:
        """One stage has taken so long [ns]."""
        self._taken[stage].add(taken_ns)

    def of(self, stage: str, likely: float = LIKELY) -> int:
        """The `likely` quantile of the times that a stage took lately [ns]."""
        return self._taken[stage].quantile(likely)

    def around_search(self, steps: int, likely: float = LIKELY) -> int:
        """All of a plan but its iterations [ns], with so many steps of rolling forward."""
        return self.prior(steps, likely) + self.of("choose", likely)

    def prior(self, steps: int, likely: float = LIKELY) -> int:
        """A plan that is the policy prior's alone [ns]."""
        return (
            self.of("encode", likely) + steps * self.of("step", likely) + self.of("propose", likely)
        )

    def shortest(self, steps: int) -> int:
        """Median time of a plan with one iteration [ns]."""
        return self.around_search(steps, 0.5) + self.of("refine", 0.5)


class Stopwatch:
    """Runs the stages of one plan, and measures them.

    Args:
        now_ns: Clock [ns].
        costs: What to tell.
        taken: By stage, summed over this plan [ns].
    """

    def __init__(self, now_ns: Callable[[], int], costs: Costs, taken: dict[str, int]) -> None:
        self._now_ns, self._costs, self._taken = now_ns, costs, taken

    def __call__(self, stage: str, run: Callable[[], _T]) -> _T:
        """Run one stage."""
        begin_ns = self._now_ns()
        result = run()
        taken_ns = self._now_ns() - begin_ns
        self._costs.add(stage, taken_ns)
        self._taken[stage] = self._taken.get(stage, 0) + taken_ns
        return result
