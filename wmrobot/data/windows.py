"""Which rows of a ring may be sampled: episodes, windows of decisions, and what was overwritten.

Rows are counted from the first ever written (`head`) and live in slot `row % num_rows`, one ring
for each environment (column).
"""

import math

import numpy as np

from wmrobot.core.errors import DataError
from wmrobot.core.spec import BoolArray, IntArray


class Windows:
    """Bookkeeping of B rings; holds no observation.

    Args:
        num_rows: Rows of one ring.
        num_envs: B.
        horizon: Decisions in a whole window.
        frame_stack: Rows up to and including a window's first one that must still be there.
    """

    def __init__(self, *, num_rows: int, num_envs: int, horizon: int, frame_stack: int) -> None:
        self.num_rows, self.horizon, self.frame_stack = num_rows, horizon, frame_stack
        self.columns = np.arange(num_envs)
        self.head: IntArray = np.zeros(num_envs, dtype=np.int64)  # rows written so far
        rows = (num_rows, num_envs)
        self._start = np.zeros(rows, dtype=np.int64)  # first row of the episode that a row is in
        # decisions in the window that starts at a row; 0 where none does yet
        self._length = np.zeros(rows, dtype=np.int64)
        self._queue = np.zeros((num_envs, num_rows), dtype=np.int64)  # rows with a window
        self._first = np.zeros(num_envs, dtype=np.int64)  # oldest and newest place in the queue
        self._last = np.zeros(num_envs, dtype=np.int64)

    @property
    def count(self) -> int:
        """Windows that can be drawn now."""
        return int((self._last - self._first).sum())

    @property
    def mean_age(self) -> float:
        """Mean age of the windows that can be drawn [rows of their ring]; NaN without any."""
        if not self.count:
            return math.nan
        total = 0
        for column in self.columns:
            places = np.arange(self._first[column], self._last[column]) % self.num_rows
            total += int((self.head[column] - 1 - self._queue[column, places]).sum())
        return total / self.count

    @property
    def oldest(self) -> IntArray:
        """(B,) oldest row of each ring that is still stored."""
        oldest: IntArray = np.maximum(self.head - self.num_rows, 0)
        return oldest

    def start(self, rows: IntArray, columns: IntArray) -> IntArray:
        """First row of the episodes that the rows are in."""
        start: IntArray = self._start[rows % self.num_rows, columns]
        return start

    def length(self, rows: IntArray, columns: IntArray) -> IntArray:
        """Decisions in the windows that start at the rows."""
        length: IntArray = self._length[rows % self.num_rows, columns]
        return length

    def open(self, columns: IntArray) -> None:
        """A row was written that starts an episode."""
        self._start[self.head[columns] % self.num_rows, columns] = self.head[columns]
        self._advance(columns)

    def follow(self, columns: IntArray, ended: BoolArray) -> None:
        """A row was written that goes on with the episode; `ended` tells where it is the last."""
        start = self.start(self.head[columns] - 1, columns)
        self._start[self.head[columns] % self.num_rows, columns] = start
        self._advance(columns)
        last = self.head[columns] - 1
        whole = last - self.horizon >= start
        rows = (last - self.horizon)[whole]
        self._enqueue(rows, columns[whole], np.full(len(rows), self.horizon))
        for i in np.flatnonzero(ended):  # windows that the end cuts short
            tail = np.arange(max(last[i] - self.horizon + 1, start[i]), last[i])
            self._enqueue(tail, np.full(len(tail), columns[i]), last[i] - tail)

    def draw(self, generator: np.random.Generator, size: int) -> tuple[IntArray, IntArray]:
        """Rows and columns of `size` windows, uniformly, with replacement.

        Raises:
            DataError: There is none yet.
        """
        counts = np.cumsum(self._last - self._first)
        if counts[-1] == 0:
            raise DataError(f"replay holds no {self.horizon} decisions in a row yet; collect more")
        drawn = generator.integers(counts[-1], size=size)
        columns = np.searchsorted(counts, drawn, side="right")
        places = drawn - np.concatenate([[0], counts[:-1]])[columns] + self._first[columns]
        rows: IntArray = self._queue[columns, places % self.num_rows]
        return rows, columns

    def put_back(
        self, rows: IntArray, columns: IntArray, start: IntArray, length: IntArray
    ) -> None:
        """Rows of a saved ring; `rebuild` must follow the last of them."""
        self._start[rows % self.num_rows, columns] = start
        self._length[rows % self.num_rows, columns] = length

    def rebuild(self, head: IntArray) -> None:
        """Find all windows anew, after `put_back`, with `head` (B,) rows written in all."""
        self.head = head.copy()
        self._first[:] = 0
        for column in self.columns:
            rows = np.arange(self.oldest[column], self.head[column])
            rows = rows[self._length[rows % self.num_rows, column] > 0]
            self._queue[column, : len(rows)] = rows
            self._last[column] = len(rows)
        self._retire(self.columns)

    def _advance(self, columns: IntArray) -> None:
        self._length[self.head[columns] % self.num_rows, columns] = 0
        self.head[columns] += 1
        self._retire(columns)

    def _enqueue(self, rows: IntArray, columns: IntArray, lengths: IntArray) -> None:
        """Append rows, in rising order within each column."""
        self._length[rows % self.num_rows, columns] = lengths
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            self._queue[column, self._last[column] % self.num_rows] = row
            self._last[column] += 1

    def _retire(self, columns: IntArray) -> None:
        """Forget windows whose oldest frame has just been overwritten."""
        for column in columns.tolist():
            oldest = self.head[column] - self.num_rows
            while oldest > 0 and self._first[column] < self._last[column]:
                row = self._queue[column, self._first[column] % self.num_rows]
                start = self._start[row % self.num_rows, column]
                if row >= oldest and max(row - self.frame_stack + 1, start) >= oldest:
                    break
                self._first[column] += 1
