"""Time as an argument, so that a test can tell it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time [s]."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; nothing for what is not positive."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """See `Clock`."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        if seconds > 0:
            time.sleep(seconds)
