"""What crosses the wire arrives to the bit; rubbish is dropped, counted, and changes nothing."""

import pickle
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.realtime import EVERY, ROOT, command
from wmrobot.runtime.robot import Command, Outcome, Phase, Reading, RobotDescription, Rung
from wmrobot.runtime.wire.bodies import LARGEST_POSE, LONGEST_PLAN, Sizes
from wmrobot.runtime.wire.datagrams import (
    HEADER,
    LARGEST_DATAGRAM,
    VERSION,
    Packet,
    Session,
    decode,
    encode,
)
from wmrobot.runtime.wire.messages import (
    Bye,
    Clear,
    EmergencyStop,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Reset,
    Status,
    Stop,
    Welcome,
)

SIZES = Sizes(sensors=3, actuators=2, pose=4)
PLAN = Command(
    sequence=4, made_from=17, when_ns=2**40, rung=Rung.PRIOR,
    actions=np.array([[0.1, -1.0], [1.0, np.float32(1e-20)]], np.float32),
)  # fmt: skip
READING = Reading(
    sequence=17, time_ns=2**50 + 1, sensors=np.array([np.pi, -0.0, 1e30], np.float32),
    command=np.array([0.5, -1.0], np.float32), applied=3, received=4, received_ns=2**50,
    phase=Phase.RUNNING, episode=2, decision=9, ticks=(5, 4, 3, 2, 1),
    outcome=Outcome(0.1 + 0.2, False, True, True),
    pose=np.array([1 / 3, -0.0, 1e-20, 7.0], np.float32),
)  # fmt: skip
DESCRIPTION = RobotDescription(
    name="ärm", sensors=("a", "b", "c"), joints=(), actuators=("x", "y"), control_dt=0.02,
    lockstep=True, mjcf_sha256="0" * 64, pose_dim=4,
)  # fmt: skip
MESSAGES: list[Message] = [
    Hello(name="planner"), Welcome(session=2**64 - 1, description=DESCRIPTION),
    Welcome(session=1, description=replace(DESCRIPTION, mjcf_sha256=None)), Refused(reason="busy"),
    READING, replace(READING, pose=np.zeros(0, np.float32)), PLAN, Heartbeat(),
    Reset(episode=3), Reset(episode=3, seed=0), Stop(reason="enough"),
    EmergencyStop(reason="smoke"), Clear(), Bye(),
    Status(source="guard", values={"a": 1, "b": {"c": [1.5, "x", None, True]}}),
]  # fmt: skip


def plain(message: Any) -> Any:
    """A message as something that compares, arrays by their bits."""
    return {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in vars(message).items()
    }


def ends() -> tuple[Session, Session]:
    return Session(99, SIZES, EVERY), Session(99, SIZES, EVERY)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_what_is_sent_arrives_to_the_bit(message: Message) -> None:
    packet = decode(encode(message, session=5, sequence=6), SIZES)
    assert isinstance(packet, Packet)
    assert (packet.session, packet.sequence) == (5, 6)
    assert type(packet.message) is type(message)
    assert plain(packet.message) == plain(message)


def test_every_kind_is_asked_here() -> None:
    assert {type(message) for message in MESSAGES} == set(EVERY)


def body(data: bytes, change: Callable[[list[Any]], None]) -> bytes:
    """The same datagram with another body."""
    fields = msgpack.unpackb(data[HEADER.size :])
    change(fields)
    packed = msgpack.packb(fields)
    head = list(HEADER.unpack_from(data))
    head[3] = len(packed)
    return HEADER.pack(*head) + packed


def set_field(index: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda fields: fields.__setitem__(index, value)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


GOOD = encode(PLAN, session=99, sequence=5)
HUGE = b"\xdd\xff\xff\xff\xff"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "truncated"),
    "half a header": (GOOD[:10], "truncated"),
    "half a body": (GOOD[:-3], "truncated"),
    "more than a body": (GOOD + b"x", "truncated"),
    "too much": (bytes(LARGEST_DATAGRAM + 1), "oversize"),
    "noise": (b"\x00" * 60, "noise"),
    "pickle": (pickle.dumps(PLAN), "noise"),
    "another version": (GOOD[:4] + b"\x09" + GOOD[5:], "version"),
    "unknown kind": (GOOD[:5] + b"\xff" + GOOD[6:], "unexpected"),
    "another session": (encode(PLAN, session=98, sequence=5), "foreign"),
    "nan": (body(GOOD, set_field(6, floats(0, 0, np.nan, 0))), "not_finite"),
    "infinity": (body(GOOD, set_field(6, floats(0, 0, np.inf, 0))), "not_finite"),
    "out of range": (body(GOOD, set_field(6, floats(0, 0, 1.01, 0))), "range"),
    "too few bytes": (body(GOOD, set_field(6, floats(0, 0, 0))), "shape"),
    "another robot's": (body(GOOD, set_field(5, 3)), "shape"),
    "no action": (body(GOOD, set_field(4, 0)), "shape"),
    "a plan for hours": (body(GOOD, set_field(4, LONGEST_PLAN + 1)), "shape"),
    "negative time": (body(GOOD, set_field(2, -1)), "malformed"),
    "a time that is no number": (body(GOOD, set_field(2, "soon")), "malformed"),
    "true for a number": (body(GOOD, set_field(2, True)), "malformed"),
    "huge number": (body(GOOD, set_field(2, 2**64 - 1)), "malformed"),
    "unknown rung": (body(GOOD, set_field(3, 77)), "malformed"),
    "a field too many": (body(GOOD, lambda fields: fields.append(0)), "malformed"),
    "an extension": (body(GOOD, set_field(0, msgpack.ExtType(5, b"x"))), "malformed"),
    "a timestamp": (body(GOOD, set_field(0, msgpack.Timestamp(1))), "malformed"),
    "nested": (HEADER.pack(b"WMRD", VERSION, 5, 3000, 99, 5) + b"\x91" * 3000, "malformed"),
    "a huge array": (HEADER.pack(b"WMRD", VERSION, 5, 5, 99, 5) + HUGE, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packet_is_dropped_and_counted(name: str) -> None:
    data, reason = HOSTILE[name]
    _, receiver = ends()
    assert receiver.unpack(data) is None
    assert receiver.dropped == {reason: 1}
    assert receiver.unpack(GOOD) is not None  # the number of a bad packet does not count


TOLD = encode(READING, session=99, sequence=5)
POSES: dict[str, tuple[object, str]] = {
    "nan": (floats(0, np.nan, 0, 0), "not_finite"),
    "infinity": (floats(0, 0, 0, -np.inf), "not_finite"),
    "too short": (floats(0, 0, 0), "shape"),
    "too long": (floats(0, 0, 0, 0, 0), "shape"),
    "half a number": (floats(0, 0, 0, 0)[:-2], "shape"),
    "megabytes": (bytes(20_000), "shape"),
    "a list": ([0.0] * 4, "shape"),
    "a text": ("", "shape"),
    "nothing": (None, "shape"),
    "a zero": (0, "shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", POSES)
def test_a_pose_is_whole_or_not_there(name: str) -> None:
    pose, reason = POSES[name]
    _, receiver = ends()
    assert receiver.unpack(body(TOLD, set_field(12, pose))) is None
    assert receiver.dropped == {reason: 1}
    assert receiver.unpack(body(TOLD, set_field(12, b""))) is not None


def test_a_robot_that_tells_no_pose_cannot_send_one() -> None:
    receiver = Session(99, SIZES._replace(pose=0), EVERY)
    assert receiver.unpack(TOLD) is None
    assert receiver.dropped == {"shape": 1}


@pytest.mark.parametrize("pose_dim", [-1, LARGEST_POSE + 1, 2**64 - 1, True, 4.0, "4", None])
def test_a_pose_of_an_absurd_size_is_not_welcome(pose_dim: object) -> None:
    welcome = encode(Welcome(session=7, description=DESCRIPTION), session=99, sequence=1)
    assert decode(body(welcome, set_field(8, pose_dim))) == "malformed"


def test_numbers_must_rise_within_a_kind() -> None:
    sender, receiver = ends()
    first, stop, second = (sender.pack(m) for m in (PLAN, Stop(), PLAN))
    assert receiver.unpack(second) is not None
    for old in (first, second):
        assert receiver.unpack(old) is None
    assert receiver.unpack(stop) is not None  # a stop that was overtaken still stops
    assert receiver.dropped == {"replayed": 2}


def test_an_end_takes_only_what_it_is_there_for() -> None:
    sender = Session(99, SIZES, EVERY)
    receiver = Session(99, SIZES, (Reading,))
    assert receiver.unpack(sender.pack(PLAN)) is None
    assert receiver.unpack(sender.pack(READING)) is not None
    assert receiver.dropped == {"unexpected": 1}


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    _, receiver = ends()
    for each in (data, GOOD[: HEADER.size] + data, HEADER.pack(*_head(len(data))) + data):
        assert receiver.unpack(each) is None
        assert isinstance(decode(each, SIZES), str)


def _head(length: int) -> tuple[Any, ...]:
    return (b"WMRD", VERSION, 5, length, 99, 5)


@given(st.integers(0, 2**32 - 1), st.sampled_from(MESSAGES))
def test_mutations_are_dropped_or_still_sound(seed: int, message: Message) -> None:
    draw = random.Random(seed)
    data = bytearray(encode(message, session=99, sequence=5))
    for _ in range(draw.randint(1, 4)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    _, receiver = ends()
    found = receiver.unpack(bytes(data))
    if isinstance(found, Command):
        assert np.isfinite(found.actions).all()
        assert (np.abs(found.actions) <= 1.001).all()
        assert found.actions.shape[1] == SIZES.actuators
    if isinstance(found, Reading):
        assert np.isfinite(found.sensors).all()
        assert found.sensors.shape == (SIZES.sensors,)
        assert np.isfinite(found.pose).all()
        assert found.pose.shape in ((0,), (SIZES.pose,))
    if isinstance(found, Welcome):
        assert 0 <= found.description.pose_dim <= LARGEST_POSE


def test_a_long_plan_of_a_large_robot_fits() -> None:
    plan = replace(PLAN, actions=np.zeros((LONGEST_PLAN, 60), np.float32))
    assert len(encode(plan, session=1, sequence=1)) < LARGEST_DATAGRAM
    wide = {name: np.zeros(1024, np.float32) for name in ("sensors", "command", "pose")}
    assert len(encode(replace(READING, **wide), session=1, sequence=1)) < LARGEST_DATAGRAM
    assert command(0.5).actions.shape == (1, 1)


def test_a_missing_package_is_one_line() -> None:
    code = (
        "import sys; sys.modules['msgpack'] = None\n"
        "from wmrobot.runtime.guard.__main__ import main; sys.exit(main(['robot=127.0.0.1:1']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: this needs wmrobot[drive] (msgpack is not installed): "
        'pip install ".[drive]" in its checkout\n'
    )
