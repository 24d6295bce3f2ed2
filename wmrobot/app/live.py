"""One line on a terminal that tells how a drive is going. A slow terminal holds up nobody."""

import sys
import threading
from types import TracebackType
from typing import Self

from wmrobot.runtime.drive_log import DriveLog

EVERY_S = 0.5


class Live:
    """Rewrites the line from a thread of its own; silent where stderr is no terminal.

    Args:
        log: What to tell of.
    """

    def __init__(self, log: DriveLog) -> None:
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="status", daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _tell(self) -> None:
        while not self._over.wait(EVERY_S):
            sys.stderr.write(f"\r{describe(self._log):<98.98}")
            sys.stderr.flush()
        sys.stderr.write("\r" + " " * 98 + "\r")


def describe(log: DriveLog) -> str:
    """The line."""
    newest = log.newest
    if newest is None:
        return "waiting for the robot"
    guard = log.statuses.get("guard", {}).get("state", "?")
    ticks = sum(log.ticks.values())
    now = log.episodes[-1] if log.episodes else None
    earned = "" if now is None else f"episode {log.episodes_begun}, return {now.total:.1f}, "
    return (
        f"{newest.phase.name.lower()}, {log.running_seconds:.0f} s, {earned}"
        f"{log.misses} of {ticks} ticks without a fresh plan, guard {guard}"
    )
