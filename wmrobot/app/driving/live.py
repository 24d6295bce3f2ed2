"""One line on a terminal that tells how a drive is going. A slow terminal holds up nobody."""

import sys
import threading
from collections import deque
from typing import Self

from wmrobot.runtime.driving.drive_log import DriveLog

EVERY_S = 0.5
WIDTH = 98


class Live:
    """Rewrites the line from a thread of its own, where stderr is a terminal.

    Args:
        log: What to tell of.
    """

    def __init__(self, log: DriveLog) -> None:
        self._log = log
        self._over = threading.Event()
        self._lines: deque[str] = deque()
        self._is_shown = sys.stderr.isatty()
        self._thread = threading.Thread(target=self._tell, name="status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def say(self, line: str) -> None:
        """Tell something that does not pass, wherever stderr leads; does not wait for it."""
        self._lines.append(line)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=1.0)

    def _tell(self) -> None:
        while not self._over.wait(EVERY_S):
            self._tell_lines()
            if self._is_shown:
                sys.stderr.write(f"\r{describe(self._log):<{WIDTH}.{WIDTH}}")
                sys.stderr.flush()
        self._clear()
        self._tell_lines()

    def _tell_lines(self) -> None:
        while self._lines:
            self._clear()
            sys.stderr.write(self._lines.popleft() + "\n")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r" + " " * WIDTH + "\r")


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
