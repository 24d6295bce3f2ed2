"""Robots, ports and clocks for tests of the real-time loop."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.runtime.robot import Command, Outcome, Reading, Robot, RobotDescription, Rung
from wmrobot.runtime.wire.bodies import sizes_of
from wmrobot.runtime.wire.datagrams import Session, decode, encode
from wmrobot.runtime.wire.messages import Hello, Message, Welcome
from wmrobot.runtime.wire.port import Address, Port

ROOT = Path(__file__).resolve().parent.parent
MS = 1_000_000  # [ns]
DT = 20 * MS
HERE: Address = ("127.0.0.1", 1)
DESCRIPTION = RobotDescription(
    name="cart", sensors=("position", "velocity"), joints=("slide",), actuators=("motor",),
    control_dt=0.02,
)  # fmt: skip


class FakeClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000 * MS

    def __call__(self) -> int:
        return self.now


class FakePort(Port):
    """A port without a network."""

    def __init__(self) -> None:
        self.address = HERE
        self.is_exclusive = False
        self.inbox: deque[tuple[bytes, Address]] = deque()
        self.sent: list[tuple[bytes, Address]] = []

    def only_from(self, address: Address) -> None:
        self.is_exclusive = True

    def from_anyone(self) -> None:
        self.is_exclusive = False

    def send(self, data: bytes, address: Address) -> None:
        self.sent.append((data, address))

    def receive(self) -> tuple[memoryview, Address] | None:
        if not self.inbox:
            return None
        data, address = self.inbox.popleft()
        return memoryview(data), address

    def next_ns(self) -> int | None:
        return None

    def close(self) -> None:
        pass


class PretendRobot(Robot):
    """Notes what it is told."""

    name = "cart"
    sensors, joints, actuators = ("position", "velocity"), ("slide",), ("motor",)
    control_dt = 0.02

    def __init__(self, note: Callable[[str, Any], None] | None = None) -> None:
        self.notes: list[tuple[str, Any]] = []
        self._note = note or (lambda what, value: self.notes.append((what, value)))
        self.sensor: Any = [0.5, -0.25]
        self.place: Any = ()
        self.next_outcome = Outcome()

    def read(self) -> Any:
        return self.sensor

    def pose(self) -> Any:
        return self.place

    def apply(self, action: np.ndarray, when_ns: int) -> None:
        self._note("apply", (float(action[0]), when_ns))

    def stop(self) -> None:
        self._note("stop", None)

    def reset(self, seed: int | None) -> None:
        self._note("reset", seed)

    def outcome(self) -> Outcome:
        return self.next_outcome


class PretendPlanner:
    """The other end of a `FakePort`."""

    def __init__(self, port: FakePort, address: Address = ("127.0.0.1", 2)) -> None:
        self.port, self.address = port, address
        self.session: Session | None = None
        self._read = 0

    def hello(self, nonce: int = 7) -> None:
        self.post(encode(Hello(), session=nonce, sequence=1))

    def post(self, data: bytes) -> None:
        self.port.inbox.append((data, self.address))

    def say(self, message: Message) -> None:
        assert self.session is not None
        self.post(self.session.pack(message))

    def heard(self, kind: type[Any] = Reading) -> list[Any]:
        """Messages of a kind since the last call; opens the session when it is welcomed."""
        found = []
        for data, address in self.port.sent[self._read :]:
            if address != self.address:
                continue
            if self.session is None or len(data) < 6 or data[5] in (2, 3):
                packet = decode(data)
                assert not isinstance(packet, str)
                message: Message | None = packet.message
                if isinstance(message, Welcome):
                    sizes = sizes_of(message.description)
                    self.session = Session(message.session, sizes, [Reading, *EVERY])
            else:
                message = self.session.unpack(data)
            if isinstance(message, kind):
                found.append(message)
        self._read = len(self.port.sent)
        return found


def every_kind() -> list[type[Any]]:
    from wmrobot.runtime.wire import messages

    return list(messages.Message.__args__)  # type: ignore[attr-defined]


EVERY = every_kind()


def command(
    *actions: float,
    when_ns: int = 0,
    sequence: int = 1,
    made_from: int = 0,
    rung: Rung = Rung.FRESH,
) -> Command:
    """A plan of one motor."""
    return Command(
        sequence=sequence, made_from=made_from, when_ns=when_ns, rung=rung,
        actions=np.array(actions, dtype=np.float32)[:, None],
    )  # fmt: skip


class Process:
    """A process that tells its port on stdout, and whatever else, line by line."""

    def __init__(self, *words: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.lines: list[Any] = []
        assert self.popen.stdout is not None
        first = self.popen.stdout.readline()
        assert first, f"{words} ended before it was ready"
        self.port: int = json.loads(first).get("port", 0)
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def _follow(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(json.loads(line))

    def wait_for(self, wanted: Callable[[Any], bool], timeout_s: float = 20.0) -> Any:
        """The first line that is wanted, also among those that have come."""
        index, end = 0, time.monotonic() + timeout_s
        while time.monotonic() < end:
            while index < len(self.lines):
                if wanted(self.lines[index]):
                    return self.lines[index]
                index += 1
            time.sleep(0.005)
        raise AssertionError(f"waited in vain, heard {self.lines[-5:]}")

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


def keep_result(what: str, **values: Any) -> None:
    """Add a line to the results of the long versions, with machine and commit."""
    from wmrobot.app.run_folder import provenance

    line = {
        "what": what,
        **values,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": round(os.getloadavg()[0], 2),
        "made": provenance(),
    }
    with (ROOT / "benchmarks" / "results" / "soak-guard.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


@contextmanager
def running(*words: str) -> Iterator[Process]:
    """A process, ended afterwards whatever happens."""
    process = Process(*words)
    try:
        yield process
    finally:
        process.end()
