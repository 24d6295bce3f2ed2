"""The two kinds of file that a flight is kept in: MCAP, and npz where the package is missing."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np

from wmrobot.runtime.driving.flight_row import SCHEMA, Row
from wmrobot.runtime.errors import RobotError

TOPIC, ABOUT, ENDING = "/drive/decision", "drive", "ending"
ROWS_IN_CHUNK = 256
CHUNK_BYTES = 2**16  # about a second: what a process that is killed may lose


class FlightFile(Protocol):
    """A file that rows are added to."""

    def add(self, row: Row, data: bytes) -> None:
        """Write a row, `data` as JSON."""

    def close(self, ending: Mapping[str, str]) -> None:
        """Finish the file with what is to be remembered of the drive's end."""


class McapFile:
    """MCAP, which Foxglove and others open; what was flushed can be read if the rest is missing.

    Args:
        stream: Opened for writing.
        about: What to remember of the drive.
    """

    def __init__(self, stream: IO[bytes], about: Mapping[str, str]) -> None:
        from mcap.writer import Writer

        self._stream, self._writer = stream, Writer(stream, chunk_size=CHUNK_BYTES)
        self._writer.start(library="wmrobot")
        self._writer.add_metadata(ABOUT, dict(about))
        schema = json.dumps(SCHEMA).encode()
        schema_id = self._writer.register_schema("wmrobot.Decision", "jsonschema", schema)
        self._channel = self._writer.register_channel(TOPIC, "json", schema_id)

    def add(self, row: Row, data: bytes) -> None:
        """See `FlightFile`."""
        self._writer.add_message(
            self._channel,
            log_time=row.arrived_ns,
            data=data,
            publish_time=row.reading.time_ns,
            sequence=row.reading.sequence % 2**32,
        )
        self._stream.flush()  # a chunk that is whole

    def close(self, ending: Mapping[str, str]) -> None:
        """See `FlightFile`."""
        self._writer.add_metadata(ENDING, dict(ending))
        self._writer.finish()  # type: ignore[no-untyped-call]


class NpzFile:
    """Lines of JSON in arrays of bytes, a chunk at a time: memory does not grow.

    Args:
        stream: Opened for writing.
        about: What to remember of the drive.
    """

    def __init__(self, stream: IO[bytes], about: Mapping[str, str]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED)
        self._lines: list[bytes] = []
        self._chunks = 0
        self._add("about", json.dumps(dict(about)).encode())

    def add(self, row: Row, data: bytes) -> None:
        """See `FlightFile`."""
        del row
        self._lines.append(data)
        if len(self._lines) >= ROWS_IN_CHUNK:
            self._flush()

    def close(self, ending: Mapping[str, str]) -> None:
        """See `FlightFile`."""
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


def read_mcap(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    """What the file remembers of its drive, and its decisions; also of one that breaks off.

    Raises:
        RobotError: It is no such file, or damaged; also while iterating.
    """
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


def read_npz(path: Path) -> tuple[dict[str, str], Iterator[dict[str, Any]]]:
    """The same of an npz.

    Raises:
        RobotError: It is no such file, or damaged; also while iterating.
    """

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
