"""How a session begins: one asks, the other grants, and neither is disturbed by strangers."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.robot import RobotDescription
from wmrobot.runtime.wire.bodies import sizes_of
from wmrobot.runtime.wire.datagrams import Session, decode, draw_session, encode, is_greeting
from wmrobot.runtime.wire.messages import Bye, Hello, Message, Refused, Welcome
from wmrobot.runtime.wire.port import Address, Port, wait

ALIVE_NS = 1_000_000_000
"""[ns] a session that has been silent for longer may be taken over"""
REPEAT_S = 0.05


class Greeting(NamedTuple):
    """A session that was granted.

    Attributes:
        session: One end of it.
        description: What the other end says of its robot.
    """

    session: Session
    description: RobotDescription


def greet(
    port: Port,
    address: Address,
    takes: Sequence[type[Any]],
    *,
    name: str = "planner",
    timeout_s: float = 5.0,
) -> Greeting:
    """Ask for a session until it is granted.

    Args:
        port: To ask through.
        address: Whom.
        takes: Kinds of message that this end will take.
        name: Who asks, for the other's log.
        timeout_s: Patience [s].

    Raises:
        RobotError: No answer, or a refusal.
    """
    mine = draw_session()
    hello = encode(Hello(name=name), session=mine, sequence=1)
    end, again = time.monotonic() + timeout_s, 0.0
    refusal = "no answer"
    while (now := time.monotonic()) < end:
        if now >= again:
            port.send(hello, address)
            again = now + REPEAT_S
        wait([port], time.monotonic_ns() + int((again - now) * 1e9))
        for data, sender in port.drain():
            packet = decode(data)
            if isinstance(packet, str) or packet.session != mine or sender != address:
                continue
            if isinstance(packet.message, Welcome):
                description = packet.message.description
                session = Session(packet.message.session, sizes_of(description), takes)
                port.only_from(address)
                return Greeting(session, description)
            if isinstance(packet.message, Refused):  # whoever is in the way may leave
                refusal = packet.message.reason
    raise RobotError(
        f"{address[0]}:{address[1]}: expected a robot that answers, got {refusal}; "
        "is it running, and is nobody else connected?"
    )


class Reception:
    """The other end of `greet`: one session at a time.

    Args:
        port: To answer through.
        description: Of the robot.
        takes: Kinds of message that this end takes.
        clock: [ns].
    """

    def __init__(
        self,
        port: Port,
        description: RobotDescription,
        takes: Sequence[type[Any]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._port = port
        self._description = description
        self._takes = [*takes, Bye]
        self._clock = clock
        self._asked: tuple[int, Address] | None = None
        self._session: Session | None = None
        self._heard_ns = 0
        self._refused_ns = -ALIVE_NS
        self.farewell: Callable[[], Message] | None = None
        """Makes the last message to one who leaves."""
        self._dropped: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    @property
    def heard_ns(self) -> int:
        """When the last good datagram came [ns]."""
        return self._heard_ns

    @property
    def dropped(self) -> Counter[str]:
        """Datagrams dropped so far, by reason, over all sessions."""
        now = Counter() if self._session is None else self._session.dropped
        return self._dropped + now

    def send(self, message: Message) -> None:
        """Send to the other end, if there is one."""
        if self._session is not None and self._asked is not None:
            self._port.send(self._session.pack(message), self._asked[1])

    def take(self, data: memoryview, address: Address) -> Message | None:
        """What a datagram says: `Hello` when it opened a session, `Bye` when it ended one."""
        if self._session is not None and self._asked is not None and self._asked[1] == address:
            if not is_greeting(data):
                message = self._session.unpack(data)
                if message is not None:
                    self._heard_ns = self._clock()
                    if not self._port.is_exclusive:  # it was silent for long, and is back
                        self._port.only_from(address)
                if isinstance(message, Bye):
                    if self.farewell is not None:
                        self.send(self.farewell())
                    self._close()
                return message
        elif not is_greeting(data):
            self._dropped["stranger"] += 1
            return None
        packet = decode(data)
        if isinstance(packet, str) or not isinstance(packet.message, Hello):
            self._dropped[packet if isinstance(packet, str) else "malformed"] += 1
            return None
        return self._greeted(packet.session, packet.message, address)

    def _greeted(self, asked: int, hello: Hello, address: Address) -> Hello | None:
        now = self._clock()
        if self._asked == (asked, address):
            self._welcome()  # the first answer was lost
            return None
        if self._session is not None and now - self._heard_ns < ALIVE_NS:
            self._dropped["busy"] += 1
            if now - self._refused_ns > REPEAT_S * 1e9:  # a flood of questions gets few answers
                self._refused_ns = now
                refused = Refused(reason="it is connected to another")
                self._port.send(encode(refused, session=asked, sequence=1), address)
            return None
        self._close()
        self._asked = (asked, address)
        self._session = Session(draw_session(), sizes_of(self._description), self._takes)
        self._heard_ns = now
        self._welcome()
        self._port.only_from(address)
        return hello

    def watch(self, now: int) -> None:
        """Listen to others again when the other end has been silent for long."""
        if self._session is not None and now - self._heard_ns >= ALIVE_NS:
            self._port.from_anyone()

    def _welcome(self) -> None:
        if self._session is None or self._asked is None:
            return
        welcome = Welcome(session=self._session.number, description=self._description)
        self._port.send(encode(welcome, session=self._asked[0], sequence=1), self._asked[1])

    def _close(self) -> None:
        if self._session is not None:
            self._dropped += self._session.dropped
        self._session = self._asked = None
        self._port.from_anyone()
