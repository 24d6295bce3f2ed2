"""Messages as datagrams: a header of 24 bytes, then msgpack. Rubbish is told from them cheaply.

Header, little-endian: `WMRD`, version (1 byte), kind (1), length of the body (2), session (8),
sequence (8). The body is an array in msgpack; arrays in it are bytes of float32, little-endian, so
that they arrive to the last bit. A session's number keeps strangers and accidents out. It is no
cryptography: who can read the network can forge it.
"""

import secrets
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.wire.bodies import (
    KINDS,
    BadBodyError,
    Sizes,
    kinds_of,
    read_body,
    write_body,
)
from wmrobot.runtime.wire.messages import Message

try:
    import msgpack
except ModuleNotFoundError:
    raise RobotError(
        'this needs wmrobot[drive] (msgpack is not installed): pip install ".[drive]" in its '
        "checkout"
    ) from None

MAGIC, VERSION = b"WMRD", 2
KIND_AT, GREETING = 5, 1
HEADER = struct.Struct("<4sBBHQQ")
LARGEST_DATAGRAM = 32 * 1024
"""[bytes] a robot with a thousand sensors can still say what they are called"""
Buffer = bytes | bytearray | memoryview


class Packet(NamedTuple):
    """One datagram, taken apart.

    Attributes:
        session: That it claims to belong to.
        sequence: Its number in its session.
        message: What it says.
    """

    session: int
    sequence: int
    message: Message


def draw_session() -> int:
    """A number for a session that nobody can guess."""
    return secrets.randbelow(2**64 - 1) + 1


def encode(message: Message, *, session: int, sequence: int) -> bytes:
    """A message as a datagram."""
    kind, fields = write_body(message)
    body: bytes = msgpack.packb(fields)
    assert HEADER.size + len(body) <= LARGEST_DATAGRAM, "a message too long for a datagram"
    return HEADER.pack(MAGIC, VERSION, kind, len(body), session, sequence) + body


def decode(data: Buffer, sizes: Sizes | None = None) -> Packet | str:
    """Take a datagram apart.

    Args:
        data: What was received; it may be anything.
        sizes: Of the session's arrays; None for what comes before there is a session.

    Returns:
        What it says, or one word for why it is dropped.
    """
    header = _read_header(data)
    if isinstance(header, str):
        return header
    kind, session, sequence = header
    message = _read_message(kind, data, sizes)
    return message if isinstance(message, str) else Packet(session, sequence, message)


def is_greeting(data: Buffer) -> bool:
    """Whether a datagram claims to ask for a session."""
    return len(data) > KIND_AT and data[KIND_AT] == GREETING


class Session:
    """One end of a session: numbers what it sends, and lets in only what is new, whole and its own.

    Of each kind of message the numbers must rise, so that nothing is taken twice, and nothing old
    after something new. A number counts only when all of its message is good.

    Args:
        number: Of the session.
        sizes: Of its arrays.
        takes: Kinds of message that this end is there for; others are dropped.
    """

    def __init__(self, number: int, sizes: Sizes, takes: Sequence[type[Any]]) -> None:
        self.number = number
        self.sizes = sizes
        self.dropped: Counter[str] = Counter()
        self._takes = kinds_of(takes)
        self._last = dict.fromkeys(KINDS, 0)
        self._sent = 0

    def pack(self, message: Message) -> bytes:
        """The next datagram of this end."""
        self._sent += 1
        return encode(message, session=self.number, sequence=self._sent)

    def unpack(self, data: Buffer) -> Message | None:
        """What a datagram says; None, and counted in `dropped` by reason, if it is not let in."""
        message = self._admit(data)
        if isinstance(message, str):
            self.dropped[message] += 1
            return None
        return message

    def _admit(self, data: Buffer) -> Message | str:
        header = _read_header(data)
        if isinstance(header, str):
            return header
        kind, session, sequence = header
        if session != self.number:
            return "foreign"
        if kind not in self._takes:
            return "unexpected"
        if sequence <= self._last[kind]:
            return "replayed"
        message = _read_message(kind, data, self.sizes)
        if not isinstance(message, str):
            self._last[kind] = sequence
        return message


def _read_header(data: Buffer) -> tuple[int, int, int] | str:
    """Kind, session and sequence; or why not. Looks at 24 bytes only."""
    if len(data) < HEADER.size:
        return "truncated"
    if len(data) > LARGEST_DATAGRAM:
        return "oversize"
    magic, version, kind, length, session, sequence = HEADER.unpack_from(data)
    if magic != MAGIC:
        return "noise"
    if version != VERSION:
        return "version"
    if kind not in KINDS:
        return "unexpected"
    if length != len(data) - HEADER.size:
        return "truncated"
    return kind, session, sequence


def _read_message(kind: int, data: Buffer, sizes: Sizes | None) -> Message | str:
    """The message of a datagram whose header is good; or why not."""
    try:
        body = msgpack.unpackb(
            memoryview(data)[HEADER.size :], strict_map_key=True, ext_hook=_refuse
        )
        return read_body(kind, body, sizes)
    except BadBodyError as error:
        return str(error)
    except (ValueError, OverflowError, msgpack.UnpackException):  # all that rubbish can lead to
        return "malformed"


def _refuse(code: int, data: bytes) -> None:
    raise BadBodyError("malformed")
