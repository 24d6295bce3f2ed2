"""The flight recorder: every decision with all that it was made from, written off the tick.

An MCAP file, which Foxglove and others open, or an npz where the package `mcap` is missing. Both
hold the same rows of JSON; its numbers are float32 told exactly, so that plans can be made again.
"""

import json
import os
import queue
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

import numpy as np

from wmrobot.runtime.deadline import Decision
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import Reading

TOPIC, ABOUT, ENDING = "/drive/decision", "drive", "ending"
WAITING = 512  # decisions that may wait to be written; what is more is counted and lost
ROWS_IN_CHUNK = 256
_NUMBER, _WHOLE, _TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
_NUMBERS = {"type": "array", "items": _NUMBER}
_PLAN = {"type": "array", "items": _NUMBERS}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "sequence time_ns arrived_ns sent_ns episode decision applied received noise_seed": _WHOLE,
    "shift iterations lead due_ns when_ns": _WHOLE,
    "reward value spread": _NUMBER,
    "phase rung guard guard_reason": _TEXT,
    "sensors command state pose ticks": _NUMBERS,
    "committed previous plan std": _PLAN,
    "previous_elites": {"type": "array", "items": _PLAN},
    "taken_ms": {"type": "object", "additionalProperties": _NUMBER},
}
SCHEMA = {
    "type": "object",
    "title": "wmrobot.Decision",
    "properties": {name: kind for names, kind in _KINDS.items() for name in names.split()},
}


class Row(NamedTuple):
    """One decision, as it waits to be written."""

    reading: Reading
    decision: Decision
    arrived_ns: int
    sent_ns: int
    guard: tuple[str, str]


class _File(Protocol):
    def add(self, row: Row, data: bytes) -> None: ...

    def close(self, ending: Mapping[str, str]) -> None: ...


class Recorder:
    """Writes decisions to a file, in a thread of its own.

    Args:
        folder: Where the file goes: `flight.mcap`, or `flight.npz`.
        about: What to remember of the drive.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        has_mcap = find_spec("mcap") is not None
        self.path = folder / ("flight.mcap" if has_mcap else "flight.npz")
        self.written = 0
        self._refused = self._unwritten = 0  # by the caller's thread, and by the writer's
        self.error: str | None = None
        """What kept the file from being written, where something did."""
        self._stream: IO[bytes] = self.path.open("wb")
        kind = _McapFile if has_mcap else _NpzFile
        self._file: _File = kind(self._stream, about)
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


def to_json(row: Row) -> dict[str, Any]:
    """A decision as one row of the file."""
    reading, decision = row.reading, row.decision
    start, plan, command = decision.start, decision.plan, decision.command
    valid = bool(start.previous.valid[0])
    return {
        "sequence": reading.sequence,
        "time_ns": reading.time_ns,
        "arrived_ns": row.arrived_ns,
        "sent_ns": row.sent_ns,
        "phase": reading.phase.name,
        "episode": reading.episode,
        "decision": reading.decision,
        "sensors": reading.sensors.tolist(),
        "command": reading.command.tolist(),
        "applied": reading.applied,
        "received": reading.received,
        "ticks": list(reading.ticks),
        "pose": reading.pose.tolist(),
        "reward": reading.outcome.reward,
        "state": start.state[0].tolist(),
        "committed": start.committed.tolist(),
        "noise_seed": start.noise_seed,
        "previous": start.previous.mean[0].tolist() if valid else None,
        "previous_elites": start.previous.elites[0].tolist() if valid else None,
        "shift": start.decisions,
        "iterations": decision.iterations,
        "lead": decision.lead,
        "due_ns": decision.due_ns,
        "rung": "NONE" if command is None else command.rung.name,
        "when_ns": None if command is None else command.when_ns,
        "plan": None if plan is None else plan.mean[0].tolist(),
        "std": None if plan is None else plan.std[0].tolist(),
        "value": None if plan is None else float(plan.value[0]),
        "spread": None if plan is None else float(plan.spread[0]),
        "taken_ms": {name: taken * 1e-6 for name, taken in decision.taken_ns.items()},
        "guard": row.guard[0],
        "guard_reason": row.guard[1],
    }


def read_flight(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    """What a file remembers of its drive, and its decisions in order.

    Raises:
        RobotError: It is missing, not such a file, or damaged; also while iterating.
    """
    if not path.is_file():
        raise RobotError(f"{path}: expected a recorded drive (flight.mcap), found no such file")
    if path.suffix == ".npz":
        return _read_npz(path)
    if find_spec("mcap") is None:
        raise RobotError(
            'this needs wmrobot[drive] (mcap is not installed): pip install "wmrobot[drive]"'
        )
    return _read_mcap(path)


class _McapFile:
    def __init__(self, stream: IO[bytes], about: Mapping[str, str]) -> None:
        from mcap.writer import Writer

        self._writer = Writer(stream)
        self._writer.start(library="wmrobot")
        self._writer.add_metadata(ABOUT, dict(about))
        schema = json.dumps(SCHEMA).encode()
        schema_id = self._writer.register_schema("wmrobot.Decision", "jsonschema", schema)
        self._channel = self._writer.register_channel(TOPIC, "json", schema_id)

    def add(self, row: Row, data: bytes) -> None:
        self._writer.add_message(
            self._channel,
            log_time=row.arrived_ns,
            data=data,
            publish_time=row.reading.time_ns,
            sequence=row.reading.sequence % 2**32,
        )

    def close(self, ending: Mapping[str, str]) -> None:
        self._writer.add_metadata(ENDING, dict(ending))
        self._writer.finish()  # type: ignore[no-untyped-call]


class _NpzFile:
    """Lines of JSON in arrays of bytes, a chunk at a time: memory does not grow."""

    def __init__(self, stream: IO[bytes], about: Mapping[str, str]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED)
        self._lines: list[bytes] = []
        self._chunks = 0
        self._add("about", json.dumps(dict(about)).encode())

    def add(self, row: Row, data: bytes) -> None:
        del row
        self._lines.append(data)
        if len(self._lines) >= ROWS_IN_CHUNK:
            self._flush()

    def close(self, ending: Mapping[str, str]) -> None:
        self._flush()
        self._add(ENDING, json.dumps(dict(ending)).encode())
        self._zip.close()

    def _flush(self) -> None:
        if self._lines:
            self._add(f"decisions_{self._chunks:06}", b"\n".join(self._lines))
            self._chunks += 1
            self._lines.clear()

    def _add(self, name: str, data: bytes) -> None:
        with self._zip.open(f"{name}.npy", "w") as file:
            np.lib.format.write_array(file, np.frombuffer(data, np.uint8), allow_pickle=False)


def _read_mcap(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    from mcap.exceptions import McapError
    from mcap.reader import make_reader
    from mcap.records import Message, Metadata

    is_whole = _ends_with_magic(path)

    def rows() -> Iterator[dict[str, Any]]:
        try:
            with path.open("rb") as stream:
                if is_whole:
                    for _, _, message in make_reader(stream).iter_messages(topics=[TOPIC]):
                        yield json.loads(message.data)
                    return
                for record in _mcap_records(stream):
                    if isinstance(record, Message):
                        yield json.loads(record.data)
        except (McapError, ValueError) as error:
            raise _damaged(path, error) from None

    try:
        with path.open("rb") as stream:
            found = make_reader(stream).iter_metadata() if is_whole else _mcap_records(stream)
            about = {m.name: m.metadata for m in found if isinstance(m, Metadata)}
    except (McapError, ValueError) as error:
        raise _damaged(path, error) from None
    return {**about.get(ABOUT, {}), **about.get(ENDING, {})}, rows()


def _ends_with_magic(path: Path) -> bool:
    from mcap.writer import MCAP0_MAGIC

    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(stream.tell() - len(MCAP0_MAGIC), 0))
        return stream.read() == MCAP0_MAGIC


class _Unfinished:
    """A file that breaks off somewhere: what is not there whole is not read at all."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        from mcap.exceptions import EndOfFile

        data = self._stream.read(size)
        if len(data) < size:
            raise EndOfFile
        return data


def _mcap_records(stream: IO[bytes]) -> Iterator[Any]:
    """Records of a drive whose process was killed, up to where its file breaks off."""
    from mcap.exceptions import EndOfFile
    from mcap.stream_reader import StreamReader

    with suppress(EndOfFile):
        yield from StreamReader(cast("IO[bytes]", _Unfinished(stream))).records


def _read_npz(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    def rows() -> Iterator[dict[str, Any]]:
        try:
            with np.load(path, allow_pickle=False) as file:
                for name in sorted(set(file.files) - {"about", ENDING}):
                    yield from map(json.loads, file[name].tobytes().splitlines())
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from None

    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if ENDING in file.files:  # it was not cut off
                about |= json.loads(file[ENDING].tobytes())
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from None
    return about, rows()


def _damaged(path: Path, error: Exception) -> RobotError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return RobotError(f"{path}: expected a recorded drive, got something else ({reason})")
