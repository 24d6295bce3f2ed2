"""CSV tables: ones that grow while a run lives, and ones that are written whole."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wmrobot.core.errors import CheckpointError, DataError
from wmrobot.core.files import sync_folder, write_atomic


class Table:
    """A CSV file that only grows, and can be cut back to what a checkpoint saw.

    Args:
        path: File; made with its header where it does not exist.
        columns: Names of the columns; a file of an older version keeps its own.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)
        if not path.exists() or self.size == 0:
            self._append([self.columns])
            sync_folder(path.parent)
        with path.open(newline="", encoding="utf-8") as file:
            header = file.readline()
        if header.endswith("\n"):  # else its writer died amid it
            self.columns = tuple(next(csv.reader([header])))

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row; columns that it lacks stay empty."""
        self._append([[_cell(row.get(name, "")) for name in self.columns]])

    @property
    def size(self) -> int:
        """Length [bytes]."""
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Forget every row written after the file had `size` bytes; 0 leaves the header.

        Raises:
            CheckpointError: The file is shorter: rows were lost that cannot be written again.
        """
        if self.size < size:
            raise CheckpointError(
                f"{self.path}: expected the {size} bytes that the checkpoint saw, got {self.size}; "
                "put the file back as it was"
            )
        os.truncate(self.path, size)
        if size == 0:
            self._append([self.columns])

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        with self.path.open("ab") as file:
            file.write(_to_text(rows).encode())
            file.flush()
            os.fsync(file.fileno())  # before a checkpoint counts on it


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Whole rows of a table by column; none where there is no such table.

    A last row that lacks its end was being written when its process died: it is left out.

    Args:
        path: The table.
        columns: What it must have; None takes its header.

    Raises:
        DataError: A row is not as it was written.
    """
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = list(csv.reader(whole.split("\n"))) if whole else []
    columns = tuple(columns or (rows[0] if rows else ()))
    for number, cells in enumerate(rows, start=1):
        if len(cells) != len(columns) or (number == 1 and tuple(cells) != columns):
            expected, got = ",".join(columns), ",".join(cells)
            raise DataError(f"{path}, line {number}: expected the columns {expected}, got '{got}'")
    return [dict(zip(columns, cells, strict=True)) for cells in rows[1:]]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table, atomically."""
    write_atomic(path, _to_text([columns, *rows]).encode())


def _to_text(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
