"""From the control loop to its window: a ring in shared memory that never makes the loop wait.

The writer overwrites the oldest message, whether it was read or not: a slow reader loses messages,
a dead one costs nothing. A message that was overwritten while it was read shows in its checksum.
"""

import mmap
import os
import struct
import zlib
from pathlib import Path

from wmrobot.core.errors import DataError

SLOTS = 16
SLOT_BYTES = 512 * 1024
_NEWEST = struct.Struct("<Q")  # number of the newest message; 0 before the first
_LABEL = struct.Struct("<QII")  # number, length [bytes], checksum of a message
_START = 64


class Mailbox:
    """One end of the ring; one process writes, one reads.

    Args:
        path: The file that both map. Where it lies in memory (`/dev/shm`), no disk is written to.
        create: Make it; its writer does.

    Raises:
        OSError: There is no room for it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        size = _START + SLOTS * SLOT_BYTES
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            if create:
                _reserve(descriptor, size, path)
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._last = self._newest()

    def write(self, message: bytes) -> None:
        """Publish a message; takes the time of a copy, whoever reads.

        Raises:
            DataError: It is larger than a slot.
        """
        if len(message) > SLOT_BYTES - _LABEL.size:
            raise DataError(
                f"message: expected at most {SLOT_BYTES - _LABEL.size} bytes, got {len(message)}"
            )
        self._last += 1
        start = self._start(self._last)
        body = start + _LABEL.size
        self._memory[start:body] = bytes(_LABEL.size)  # number 0: being written
        self._memory[body : body + len(message)] = message
        label = _LABEL.pack(self._last, len(message), zlib.crc32(message))
        self._memory[start:body] = label
        self._memory[: _NEWEST.size] = _NEWEST.pack(self._last)

    def read(self) -> tuple[list[bytes], int]:
        """Messages that came since the last call, oldest first, and how many were lost."""
        newest = self._newest()
        messages = []
        for number in range(max(self._last + 1, newest - SLOTS + 1), newest + 1):
            message = self._message(number)
            if message is not None:
                messages.append(message)
        lost = newest - self._last - len(messages)
        self._last = newest
        return messages, lost

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()

    def _newest(self) -> int:
        number: int = _NEWEST.unpack_from(self._memory, 0)[0]
        return number

    def _message(self, number: int) -> bytes | None:
        start = self._start(number)
        found, length, checksum = _LABEL.unpack_from(self._memory, start)
        if found != number or length > SLOT_BYTES - _LABEL.size:
            return None
        body = start + _LABEL.size
        message = self._memory[body : body + length]
        return message if zlib.crc32(message) == checksum else None

    @staticmethod
    def _start(number: int) -> int:
        return _START + number % SLOTS * SLOT_BYTES


def _reserve(descriptor: int, size: int, path: Path) -> None:
    """Take all pages now: a page that is not to be had later would kill the loop that writes."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
