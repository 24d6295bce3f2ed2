"""Two clocks and the way between them, from messages that cross it. Nothing is ever set."""

from collections import deque

WINDOW = 64
"""Messages that are remembered each way: a second or so, in which no clock drifts."""


class Crossing:
    """The robot's clock, as seen from this side.

    As in NTP, a message that arrives bounds the clocks' offset from below (offset - its delay), one
    that is confirmed from above (offset + its delay). The least delayed of each are taken to have
    been on their way for equally long.
    """

    def __init__(self) -> None:
        self._down: deque[int] = deque(maxlen=WINDOW)
        self._up: deque[int] = deque(maxlen=WINDOW)
        self._offset = 0

    def arrived(self, theirs_ns: int, mine_ns: int) -> None:
        """Something arrived at `mine_ns` that was stamped `theirs_ns`."""
        self._down.append(theirs_ns - mine_ns)
        self._update()

    def reported(self, mine_ns: int, theirs_ns: int) -> None:
        """What was sent at `mine_ns` arrived there at `theirs_ns`."""
        self._up.append(theirs_ns - mine_ns)
        self._update()

    def theirs(self, mine_ns: int) -> int:
        """The robot's time at a time of this clock [ns]."""
        return mine_ns + self._offset

    def mine(self, theirs_ns: int) -> int:
        """A time of this clock at the robot's [ns]."""
        return theirs_ns - self._offset

    @property
    def slowest_up_ns(self) -> int:
        """The longest that anything was on its way to the robot lately [ns]."""
        return max(max(self._up) - self._offset, 0) if self._up else 0

    def _update(self) -> None:
        down = max(self._down, default=0)
        self._offset = (down + min(self._up)) // 2 if self._up else down
