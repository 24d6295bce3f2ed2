"""From the readings of a robot to what its planner sees, tick by tick, whatever was lost."""

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.driving.state_builder import StateBuilder
from wmrobot.runtime.robot import Phase, Reading

LONGEST_GAP = 16
"""Ticks without a reading that are bridged; no history reaches back further."""


class Senses:
    """Builds `state` from readings.

    Args:
        description: Of the planner.
        acts_within: Whether a command takes effect after the reading that it was made from and
            before the next one: in lock-step, and where plans act as soon as they are ready. Then
            the command of a tick is told by the next tick's reading; otherwise by its own.

    Raises:
        ObservationError: The planner sees no `state`; `observe` raises it for what is not finite.
    """

    def __init__(self, description: Description, *, acts_within: bool = False) -> None:
        self._acts_within = acts_within
        self._builder = StateBuilder(description)
        self._last: Reading | None = None

    def observe(self, reading: Reading) -> FloatArray:
        """Take a reading; returns `state` (1, O).

        Where readings were lost, the last measurement and command stand in for theirs.
        """
        last, self._last = self._last, reading
        starts = reading.phase is not Phase.RUNNING or reading.decision == 0
        if starts or last is None or last.episode != reading.episode:
            self._builder.reset()
        else:
            missing = min(reading.sequence - last.sequence - 1, LONGEST_GAP)
            acted = (reading if self._acts_within else last).command[None]
            for _ in range(missing):
                self._builder.acted(acted)
                self._builder.observe(last.sensors[None])
            self._builder.acted(acted)
        return self._builder.observe(reading.sensors[None])
