"""A UDP socket that knows when each datagram arrived, however late it is read.

While a plan is made nobody reads. The kernel stamps what comes meanwhile, where it can (Linux), so
that no second thread has to, which would fight for the interpreter with the one that plans.
"""

import socket
import struct
import sys
import time

from wmrobot.runtime.wire.port import Address, Port

_TIMESTAMPNS = 35  # SO_TIMESTAMPNS of Linux; Python has no name for it
_STAMP = struct.Struct("@qq")
_SECOND = 1_000_000_000


class StampedPort(Port):
    """A port that stamps.

    Attributes:
        arrived_ns: When the datagram arrived that `receive` returned last, by `time.monotonic_ns`.
        by_kernel: Whether the kernel tells; otherwise it is the time at which it was read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrived_ns = 0
        self.by_kernel = sys.platform == "linux"
        if self.by_kernel:
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)

    def receive(self) -> tuple[memoryview, Address] | None:
        """See `Port`."""
        try:
            size, extra, _, address = self._socket.recvmsg_into([self._buffer], 64)
        except OSError:
            return None
        self.arrived_ns = time.monotonic_ns()
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPNS) and len(data) == _STAMP.size:
                seconds, rest = _STAMP.unpack(data)
                waited = time.time_ns() - seconds * _SECOND - rest
                if 0 <= waited < _SECOND:  # else somebody has set the clock
                    self.arrived_ns -= waited
        return self._buffer[:size], address
