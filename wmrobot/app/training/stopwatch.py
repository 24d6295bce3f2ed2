"""When a run was where: wall-clock time, in a table of its own.

The other tables are equal bit for bit however often a run was broken off; time cannot be.
"""

import time
from pathlib import Path
from typing import Literal

from wmrobot.app.tables import Table, read_rows, write_rows
from wmrobot.core.errors import DataError

TIMING_FILE = "timing.csv"
COLUMNS = ("decisions", "step", "event", "wall_clock_s")
Event = Literal["evaluation", "save"]


class Stopwatch:
    """Seconds that the processes of a run have spent on what its tables hold.

    It runs from here on. What a process did after the last checkpoint, and another did again, is
    counted once.

    Args:
        run: Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._run, self._table = run, Table(run / TIMING_FILE, COLUMNS)
        self._begin, self._before = time.perf_counter(), 0.0

    def seconds(self) -> float:
        """Seconds so far [s]."""
        return self._before + time.perf_counter() - self._begin

    def mark(self, decisions: int, step: int, event: Event) -> None:
        """Note when something was done; `step` counts environment steps with action repeat."""
        row = {"decisions": decisions, "step": step, "event": event}
        self._table.add(row | {"wall_clock_s": round(self.seconds(), 2)})

    def go_on(self, decisions: int) -> None:
        """Go on from a checkpoint of that many decisions; what came after it is forgotten."""
        rows = read_times(self._run)
        kept = [row for row in rows if int(row["decisions"]) <= decisions]
        self._before = float(kept[-1]["wall_clock_s"]) if kept else 0.0
        write_rows(self._table.path, COLUMNS, [list(row.values()) for row in kept])


def evaluation_times(run: Path) -> dict[int, float]:
    """Seconds after which each evaluation of a run was done, by its environment step."""
    rows = read_times(run)
    return {int(r["step"]): float(r["wall_clock_s"]) for r in rows if r["event"] == "evaluation"}


def read_times(run: Path) -> list[dict[str, str]]:
    """Rows of a run's table of times; none where there is no such table.

    Raises:
        DataError: A row is not as it was written.
    """
    try:
        return read_rows(run / TIMING_FILE, COLUMNS)
    except DataError as error:
        raise DataError(f"{error}; delete the file, at the loss of the times in it") from None
