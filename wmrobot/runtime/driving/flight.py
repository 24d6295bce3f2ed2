"""The flight recorder: every decision with all that it was made from, written off the tick.

An MCAP file, which Foxglove and others open, or an npz where the package `mcap` is missing. Both
hold the same rows of JSON; its numbers are float32 told exactly, so that plans can be made again.
"""

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from wmrobot.runtime.driving.deadline import Decision
from wmrobot.runtime.driving.flight_files import FlightFile, McapFile, NpzFile, read_mcap, read_npz
from wmrobot.runtime.driving.flight_row import Row, to_json
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import Reading

WAITING = 512  # decisions that may wait to be written; what is more is counted and lost


def _set_aside(path: Path) -> None:
    """Keep the recording of an earlier drive."""
    if path.exists():
        ended = datetime.fromtimestamp(path.stat().st_mtime)
        path.rename(path.with_stem(f"{path.stem}-{ended:%Y%m%d-%H%M%S-%f}"))


class Recorder:
    """Writes decisions to a file, in a thread of its own.

    Args:
        folder: Where the file goes: `flight.mcap`, or `flight.npz`. One that is there is kept under
            the time of its end.
        about: What to remember of the drive.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        has_mcap = find_spec("mcap") is not None
        self.path = folder / ("flight.mcap" if has_mcap else "flight.npz")
        _set_aside(self.path)
        self.written = 0
        self._refused = self._unwritten = 0  # by the caller's thread, and by the writer's
        self.error: str | None = None
        """What kept the file from being written, where something did."""
        self._stream: IO[bytes] = self.path.open("wb")
        kind = McapFile if has_mcap else NpzFile
        self._file: FlightFile = kind(self._stream, about)
        self._ending: Mapping[str, str] = {}
        self._queue: queue.Queue[Row | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._write, name="flight recorder", daemon=True)
        self._thread.start()

    def add(
        self,
        reading: Reading,
        decision: Decision,
        arrived_ns: int,
        sent_ns: int,
        guard: tuple[str, str] = ("", ""),
    ) -> None:
        """Take a decision; never waits.

        Args:
            reading: That it was made from.
            decision: What was decided.
            arrived_ns: When the reading arrived [ns].
            sent_ns: When the command left [ns].
            guard: The guard's state as it was told last, and what led to it.
        """
        try:
            self._queue.put_nowait(Row(reading, decision, arrived_ns, sent_ns, guard))
        except queue.Full:
            self._refused += 1

    @property
    def dropped(self) -> int:
        """Decisions that are not in the file."""
        return self._refused + self._unwritten

    def close(self, ending: Mapping[str, str] | None = None) -> None:
        """Write what waits, and finish the file.

        Args:
            ending: What to remember of how the drive ended.
        """
        self._ending = ending or {}
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (row := self._queue.get()) is not None:
            if self.error is None:
                with self._noting_errors():
                    self._file.add(row, json.dumps(to_json(row)).encode())
            if self.error is None:
                self.written += 1
            else:  # the queue has to be emptied all the same
                self._unwritten += 1
        with self._noting_errors():
            self._file.close(self._ending)
        with self._noting_errors():
            self._stream.close()

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """A disk that is full must not keep the drive from its end."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error.strerror or str(error)


def read_flight(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    """What a file remembers of its drive, and its decisions in order.

    Raises:
        RobotError: It is missing, not such a file, or damaged; also while iterating.
    """
    if not path.is_file():
        raise RobotError(f"{path}: expected a recorded drive (flight.mcap), found no such file")
    if path.suffix == ".npz":
        return read_npz(path)
    if find_spec("mcap") is None:
        raise RobotError(
            'this needs wmrobot[drive] (mcap is not installed): pip install ".[drive]" in its '
            "checkout"
        )
    return read_mcap(path)
