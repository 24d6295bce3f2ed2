"""The tables of raw results that runs are kept in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wmrobot.app.tables import read_rows, write_rows
from wmrobot.app.training.result import Result
from wmrobot.core.errors import DataError
from wmrobot.core.files import make_folder

COLUMNS = ("step", "reward", "seed", "profile", "machine", "wall_clock_s", "commit")


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Put the rows of some runs into a task's table.

    Rows of other profiles and seeds that the table holds already stay.

    Raises:
        DataError: The table is not one of raw results.
    """
    own = {(result.profile, str(result.seed)) for result in results}
    kept = [row for row in _read(path) if (row[3], row[2]) not in own]
    rows = [cells for result in results for cells in _rows(result)]
    make_folder(path.parent)
    write_rows(path, COLUMNS, [*kept, *rows])


def _rows(result: Result) -> list[list[object]]:
    facts = [result.seed, result.profile, result.machine]
    return [
        [int(step), f"{reward:.6g}", *facts, "" if np.isnan(s) else round(s, 2), result.commit]
        for step, reward, s in zip(result.steps, result.rewards, result.wall_clock_s, strict=True)
    ]


def _read(path: Path) -> list[list[str]]:
    try:
        return [list(row.values()) for row in read_rows(path, COLUMNS)]
    except DataError as error:
        raise DataError(f"{error}; choose another out=, or move the file away") from None
