"""A UDP socket that never blocks, and never raises for what others do."""

import contextlib
import ipaddress
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from wmrobot.runtime.errors import RobotError

LOOPBACK = "127.0.0.1"
MOST_AT_ONCE = 128
"""Datagrams taken at one waking, so that a flood of them cannot hold up what is due."""
BUFFER_BYTES = 2**18
"""Some hundreds of datagrams. A larger one would let a flood of them delay what comes after it."""
Address = tuple[str, int]


class Port:
    """A UDP socket.

    Args:
        host: Address to bind to; anything but loopback is said on stderr.
        port: Number of the port; 0 picks one.

    Raises:
        RobotError: It cannot be bound.
    """

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self._socket = _bind((host, port))
        self.address: Address = self._socket.getsockname()
        if not is_loopback(host):
            sys.stderr.write(f"listening on {host}:{self.address[1]}, beyond this machine\n")
        self._buffer = memoryview(bytearray(2**16))
        self.is_exclusive = False
        """Whether only one other end is heard."""

    def only_from(self, address: Address) -> None:
        """Let the kernel drop what others send, so that a flood of it costs this process nothing.

        What they send is then neither seen nor counted here.
        """
        try:
            self._socket.connect(address)
        except OSError:  # no way there: whoever it is will not be heard, and the session will lapse
            return
        self.is_exclusive = True

    def from_anyone(self) -> None:
        """Hear everybody again."""
        if self.is_exclusive:
            self._socket.close()  # a socket cannot be told to forget whom it is for
            self._socket = _bind(self.address)
            self.is_exclusive = False

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; what the network does not take is lost like others on the way."""
        with contextlib.suppress(OSError):  # among others: nobody received what was sent before
            self._socket.sendto(data, address)

    def receive(self) -> tuple[memoryview, Address] | None:
        """One datagram and who sent it, None if there is none. Valid until the next call."""
        try:
            size, address = self._socket.recvfrom_into(self._buffer)
        except OSError:
            return None
        return self._buffer[:size], address

    def drain(self) -> Iterator[tuple[memoryview, Address]]:
        """What has come, but no more than `MOST_AT_ONCE`; each is valid until the next."""
        for _ in range(MOST_AT_ONCE):
            if (received := self.receive()) is None:
                return
            yield received

    def next_ns(self) -> int | None:
        """When something will be to receive that has not come over the network; None for never."""
        return None

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()


def _bind(address: Address) -> socket.socket:
    """A socket that does not block, bound to an address.

    Raises:
        RobotError: It cannot be bound.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    opened.setblocking(False)
    try:
        opened.bind(address)
    except (OSError, OverflowError) as error:
        opened.close()
        host, port = address
        raise RobotError(f"{host}:{port}: expected a free port to bind ({error})") from None
    return opened


def is_loopback(host: str) -> bool:
    """Whether an address stays within this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wait(ports: Sequence[Port], until_ns: int) -> None:
    """Sleep until something can be received, or until a time of `time.monotonic_ns`."""
    for port in ports:
        if (due := port.next_ns()) is not None:
            until_ns = min(until_ns, due)
    # Not a poll: that counts in whole milliseconds.
    select.select(ports, [], [], max(until_ns - time.monotonic_ns(), 0) * 1e-9)
