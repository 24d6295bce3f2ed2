"""When a run was where: wall-clock time, in a table of its own.

The other tables are equal bit for bit however often a run was broken off; time cannot be.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from wmrobot.app.run_folder import Table
from wmrobot.core.errors import DataError
from wmrobot.core.files import write_atomic

TIMING_FILE = "timing.csv"
COLUMNS = ("decisions", "step", "event", "wall_clock_s")
Event = Literal["evaluation", "save"]
Row = dict[str, str]


class Stopwatch:
    """Seconds that the processes of a run have spent on what its tables hold.

    It runs from here on. What a process did after the last checkpoint, and another did again, is
    counted once.

    Args:
        run: Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._table = Table(run / TIMING_FILE, COLUMNS)
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
        kept = [row for row in read_rows(self._table.path) if int(row["decisions"]) <= decisions]
        self._before = float(kept[-1]["wall_clock_s"]) if kept else 0.0
        lines = [COLUMNS, *(row.values() for row in kept)]
        text = "".join(",".join(line) + "\n" for line in lines)
        if self._table.path.read_text(encoding="utf-8") != text:
            write_atomic(self._table.path, text.encode())


def evaluation_times(run: Path) -> dict[int, float]:
    """Seconds after which each evaluation of a run was done, by its environment step."""
    rows = read_rows(run / TIMING_FILE)
    return {int(r["step"]): float(r["wall_clock_s"]) for r in rows if r["event"] == "evaluation"}


def read_rows(path: Path) -> Iterator[Row]:
    """Whole rows of a table of times; none where there is no such table.

    A last row that lacks its end was being written when its process died: it is left out.

    Raises:
        DataError: A row is not as it was written.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1]):
        cells = line.split(",")
        if len(cells) != len(COLUMNS) or (number == 0 and tuple(cells) != COLUMNS):
            raise DataError(
                f"{path}, line {number + 1}: expected {','.join(COLUMNS)}, got {line!r}; delete "
                "the file, at the loss of the times in it"
            )
        if number:
            yield dict(zip(COLUMNS, cells, strict=True))
