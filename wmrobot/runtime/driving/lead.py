"""How many ticks ahead a command is made for."""

from wmrobot.runtime.driving.timing import Costs, RobotTime

LARGEST = 8  # [ticks] further ahead no model sees
UNKNOWN_NS = 500_000_000  # [ns] ahead, while it is not known how long a command takes
RAISE_AFTER, LOWER_AFTER = 3, 50  # [readings]


class Lead:
    """The smallest number of ticks in which a reading can become a command that arrives.

    Commands take effect at ticks, so the time that way and planning take is rounded up; what is
    left of the last tick goes to the search. A change costs one tick without a fresh plan, or
    one plan made for nothing: it is made at once while the robot rests, and otherwise when it has
    been asked for several times in a row. A robot at rest is sent its first command far ahead, and
    tells when it came: with too small a guess it might come too late for ever, and tell nothing.

    Args:
        control_dt_ns: Time between two ticks [ns].
        margin_ns: Time to spare [ns].
        enough: Iterations that are worth waiting another tick for.
    """

    def __init__(self, control_dt_ns: int, margin_ns: int, enough: int) -> None:
        self._dt_ns, self._margin_ns, self._enough = control_dt_ns, margin_ns, enough
        self.ticks = 1
        self._asked = 0  # how often in a row for more (positive) or for less (negative)

    def wanted(self, time: RobotTime, costs: Costs) -> int:
        """Lead that what was measured asks for [ticks]."""
        planning_ns = costs.around_search(self.ticks) + self._enough * costs.of("refine")
        needed_ns = (
            time.age.quantile(0.95)
            + time.round_trip.quantile(0.95)
            + self._margin_ns
            + min(planning_ns, self._dt_ns - self._margin_ns)  # one plan a tick, in any case
        )
        return min(max(-(-needed_ns // self._dt_ns), 1), LARGEST)

    def update(self, time: RobotTime, costs: Costs, *, moving: bool) -> int:
        """Lead of the next command [ticks].

        Args:
            time: Of the robot.
            costs: Of planning.
            moving: Whether commands are in effect.
        """
        if not moving and not len(time.round_trip):
            return min(max(UNKNOWN_NS // self._dt_ns, 1), LARGEST)
        wanted = self.wanted(time, costs)
        if wanted > self.ticks:
            self._asked = max(self._asked, 0) + 1
        elif wanted < self.ticks:
            self._asked = min(self._asked, 0) - 1
        else:
            self._asked = 0
        if not moving or self._asked >= RAISE_AFTER or -self._asked >= LOWER_AFTER:
            self.ticks, self._asked = wanted, 0
        return self.ticks
