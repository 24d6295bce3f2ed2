"""A network that is worse than the one there is: late, lossy, out of order. Seeded."""

import heapq
import time
from dataclasses import dataclass, fields

import numpy as np

from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.wire.port import LOOPBACK, MOST_AT_ONCE, Address, Port

MOST_HELD = 4096
"""Datagrams on their way at most; a flood beyond them is lost, as it would be."""


@dataclass(frozen=True, kw_only=True)
class Impairment:
    """What befalls datagrams between a robot and the other end. All off by default.

    Attributes:
        obs_delay_ms: Time that what the robot sends is on its way [ms].
        action_delay_ms: Time that what it is sent is on its way [ms].
        jitter_ms: Each is on its way for up to this much longer [ms], uniform.
        loss: Share of datagrams that are lost, each way.
        duplicate: Share that arrive twice, the second up to 20 ms later.
        reorder: Share that are held back by 20 ms more, so that others overtake them.
        stall_every_s: Mean time between two stalls [s], in which nothing arrives either way; 0 for
            none.
        stall_ms: How long a stall lasts [ms].
    """

    obs_delay_ms: float = 0.0
    action_delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    stall_every_s: float = 0.0
    stall_ms: float = 0.0

    def __post_init__(self) -> None:
        for name in _names():
            value = getattr(self, name)
            is_share = name in ("loss", "duplicate", "reorder")
            if not 0 <= value <= (1.0 if is_share else 1e6):
                expected = "a share, 0 to 1" if is_share else "at least 0"
                raise RobotError(f"{name}: expected {expected}, got {value}")

    @property
    def is_felt(self) -> bool:
        """Whether any of it is on."""
        return any(getattr(self, name) for name in _names())


def _names() -> list[str]:
    return [field.name for field in fields(Impairment)]  # not those of a subclass


HELD_BACK_MS = 20.0


class ImpairedPort(Port):
    """A port through such a network.

    Args:
        impairment: What befalls datagrams.
        seed: Of the random stream.
        host: See `Port`.
        port: See `Port`.
    """

    def __init__(
        self, impairment: Impairment, *, seed: int, host: str = LOOPBACK, port: int = 0
    ) -> None:
        super().__init__(host, port)
        self._cfg = impairment
        self._generator = np.random.default_rng(seed)
        self._coming: list[tuple[int, int, bytes, Address]] = []
        self._going: list[tuple[int, int, bytes, Address]] = []
        self._count = 0
        self._stalled_until = 0
        self._next_stall = time.monotonic_ns() + self._draw_pause()

    def send(self, data: bytes, address: Address) -> None:
        """Let one datagram go; it leaves when its time has come."""
        self._hold(self._going, data, address, self._cfg.obs_delay_ms)
        self._flush(time.monotonic_ns())

    def receive(self) -> tuple[memoryview, Address] | None:
        """One datagram whose time has come."""
        for _ in range(MOST_AT_ONCE):
            if (received := super().receive()) is None:
                break
            self._hold(self._coming, bytes(received[0]), received[1], self._cfg.action_delay_ms)
        now = time.monotonic_ns()
        self._flush(now)
        if not self._coming or self._coming[0][0] > now:
            return None
        _, _, data, address = heapq.heappop(self._coming)
        return memoryview(data), address

    def next_ns(self) -> int | None:
        """When the next datagram arrives or leaves."""
        return min((queue[0][0] for queue in (self._coming, self._going) if queue), default=None)

    def _flush(self, now: int) -> None:
        while self._going and self._going[0][0] <= now:
            _, _, data, address = heapq.heappop(self._going)
            super().send(data, address)

    def _hold(
        self, queue: list[tuple[int, int, bytes, Address]], data: bytes, to: Address, delay: float
    ) -> None:
        cfg, draw = self._cfg, self._generator.random
        if draw() < cfg.loss or len(queue) >= MOST_HELD:
            return
        for copy in range(2 if draw() < cfg.duplicate else 1):
            held = delay + cfg.jitter_ms * draw() + copy * HELD_BACK_MS * draw()
            if draw() < cfg.reorder:
                held += HELD_BACK_MS
            now = time.monotonic_ns()
            if now >= self._next_stall:
                self._stalled_until = now + int(cfg.stall_ms * 1e6)
                self._next_stall = self._stalled_until + self._draw_pause()
            due = max(now + int(held * 1e6), self._stalled_until)
            self._count += 1  # equal times stay in order
            heapq.heappush(queue, (due, self._count, data, to))

    def _draw_pause(self) -> int:
        if not self._cfg.stall_every_s:
            return 2**62
        return int(self._generator.exponential(self._cfg.stall_every_s) * 1e9)
