"""What stands in the body of each kind of message, written and read field by field.

Reading trusts nothing: what is not exactly as written here raises `BadBodyError` with a reason of
one word, to be counted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.robot import Command, Outcome, Phase, Reading, RobotDescription, Rung
from wmrobot.runtime.wire import messages as m

LARGEST = 2**63 - 1
LONGEST_PLAN = 64
LARGEST_POSE = 1024
"""Entries of a pose: a reading with it, and with a thousand sensors, still is one datagram."""
LARGEST_ACTION = 1.0 + 1e-4
"""Actions are told in float32: what is a hair outside [-1, 1] is clipped later, not refused."""


class Sizes(NamedTuple):
    """What a session's arrays measure.

    Attributes:
        sensors: R.
        actuators: A.
        pose: P.
    """

    sensors: int
    actuators: int
    pose: int


class BadBodyError(ValueError):
    """A body is not what its kind says; the message is the reason."""


def write_body(message: m.Message) -> tuple[int, list[Any]]:
    """Kind and body of a message."""
    kind, write, _ = _BY_TYPE[type(message)]
    return kind, write(message)


def read_body(kind: int, body: object, sizes: Sizes | None) -> m.Message:
    """A message from its body.

    Args:
        kind: One of `KINDS`.
        body: What msgpack made of the bytes.
        sizes: What its arrays must measure; None refuses messages with arrays.

    Raises:
        BadBodyError: It is anything else.
    """
    if type(body) is not list:
        raise BadBodyError("malformed")
    return KINDS[kind].read(body, sizes)


def _count(value: object, low: int = 0) -> int:
    if type(value) is not int or not low <= value <= LARGEST:
        raise BadBodyError("malformed")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise BadBodyError("malformed")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise BadBodyError("malformed")
    return value


def _number(value: object) -> float:
    if type(value) is not float:
        raise BadBodyError("malformed")
    if not math.isfinite(value):
        raise BadBodyError("not_finite")
    return value


def _names(value: object) -> tuple[str, ...]:
    if type(value) is not list:
        raise BadBodyError("malformed")
    return tuple(map(_text, value))


def _fields(body: list[Any], count: int) -> list[Any]:
    if len(body) != count:
        raise BadBodyError("malformed")
    return body


def _sizes(sizes: Sizes | None) -> Sizes:
    if sizes is None:
        raise BadBodyError("unexpected")
    return sizes


def _floats(value: object, shape: tuple[int, ...]) -> FloatArray:
    if type(value) is not bytes or len(value) != 4 * math.prod(shape):
        raise BadBodyError("shape")
    array = np.frombuffer(value, dtype="<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise BadBodyError("not_finite")
    return array


def _actions(value: object, shape: tuple[int, ...]) -> FloatArray:
    array = _floats(value, shape)
    if (np.abs(array) > LARGEST_ACTION).any():
        raise BadBodyError("range")
    return array


def _bytes(array: FloatArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def _write_reading(r: Reading) -> list[Any]:
    return [
        r.sequence, r.time_ns, _bytes(r.sensors), _bytes(r.command), r.applied,
        r.received, r.received_ns, int(r.phase), r.episode, r.decision, list(r.ticks),
        [float(r.outcome.reward), *map(bool, r.outcome[1:])], _bytes(r.pose),
    ]  # fmt: skip


def _read_reading(body: list[Any], sizes: Sizes | None) -> Reading:
    num_sensors, num_actuators, pose_dim = _sizes(sizes)
    (sequence, time_ns, sensors, command, applied, received, received_ns, phase, episode,
     decision, ticks, outcome, pose) = _fields(body, 13)  # fmt: skip
    if type(ticks) is not list or type(outcome) is not list:
        raise BadBodyError("malformed")
    reward, terminated, truncated, success = _fields(outcome, 4)
    if _count(phase) >= len(Phase):
        raise BadBodyError("malformed")
    return Reading(
        sequence=_count(sequence),
        time_ns=_count(time_ns),
        sensors=_floats(sensors, (num_sensors,)),
        command=_actions(command, (num_actuators,)),
        applied=_count(applied),
        received=_count(received),
        received_ns=_count(received_ns),
        phase=Phase(phase),
        episode=_count(episode),
        decision=_count(decision),
        ticks=tuple(map(_count, _fields(ticks, len(Rung)))),
        outcome=Outcome(_number(reward), _flag(terminated), _flag(truncated), _flag(success)),
        pose=_floats(pose, (0,) if pose == b"" else (pose_dim,)),  # whole, or not at all
    )


def _write_command(c: Command) -> list[Any]:
    horizon, num_actuators = c.actions.shape
    return [
        c.sequence, c.made_from, c.when_ns, int(c.rung), horizon, num_actuators,
        _bytes(c.actions),
    ]  # fmt: skip


def _read_command(body: list[Any], sizes: Sizes | None) -> Command:
    expected = _sizes(sizes).actuators
    sequence, made_from, when_ns, rung, horizon, num_actuators, actions = _fields(body, 7)
    if not 1 <= _count(horizon) <= LONGEST_PLAN or _count(num_actuators) != expected:
        raise BadBodyError("shape")
    if _count(rung) >= len(Rung):
        raise BadBodyError("malformed")
    return Command(
        sequence=_count(sequence, 1),
        made_from=_count(made_from),
        when_ns=_count(when_ns),
        actions=_actions(actions, (horizon, num_actuators)),
        rung=Rung(rung),
    )


def _write_welcome(w: m.Welcome) -> list[Any]:
    d = w.description
    names = [list(each) for each in (d.sensors, d.joints, d.actuators)]
    told = [float(d.control_dt), d.lockstep, d.mjcf_sha256, d.pose_dim]
    return [w.session, d.name, *names, *told]


def _read_welcome(body: list[Any], sizes: Sizes | None) -> m.Welcome:
    del sizes
    (session, name, sensors, joints, actuators, control_dt, lockstep, sha256,
     pose_dim) = _fields(body, 9)  # fmt: skip
    if type(session) is not int or not 0 < session < 2**64:
        raise BadBodyError("malformed")
    if _number(control_dt) <= 0 or not _names(sensors) or not _names(actuators):
        raise BadBodyError("malformed")
    if _count(pose_dim) > LARGEST_POSE:
        raise BadBodyError("malformed")
    description = RobotDescription(
        name=_text(name),
        sensors=_names(sensors),
        joints=_names(joints),
        actuators=_names(actuators),
        control_dt=control_dt,
        lockstep=_flag(lockstep),
        mjcf_sha256=None if sha256 is None else _text(sha256),
        pose_dim=pose_dim,
    )
    return m.Welcome(session=session, description=description)


def _read_reset(body: list[Any], sizes: Sizes | None) -> m.Reset:
    del sizes
    episode, seed = _fields(body, 2)
    return m.Reset(episode=_count(episode, 1), seed=None if seed is None else _count(seed))


def _read_status(body: list[Any], sizes: Sizes | None) -> m.Status:
    del sizes
    source, values = _fields(body, 2)
    if type(values) is not dict:
        raise BadBodyError("malformed")
    return m.Status(source=_text(source), values=values)


def _text_only(
    make: Callable[[str], m.Message],
) -> Callable[[list[Any], Sizes | None], m.Message]:
    return lambda body, sizes: make(_text(_fields(body, 1)[0]))


def _empty(make: Callable[[], m.Message]) -> Callable[[list[Any], Sizes | None], m.Message]:
    def read(body: list[Any], sizes: Sizes | None) -> m.Message:
        _fields(body, 0)
        return make()

    return read


class _Kind(NamedTuple):
    """One kind of message: its number, and how its body is written and read."""

    number: int
    write: Callable[[Any], list[Any]]
    read: Callable[[list[Any], Sizes | None], m.Message]


_BY_TYPE: dict[type[Any], _Kind] = {
    m.Hello: _Kind(1, lambda x: [x.name], _text_only(lambda text: m.Hello(name=text))),
    m.Welcome: _Kind(2, _write_welcome, _read_welcome),
    m.Refused: _Kind(3, lambda x: [x.reason], _text_only(lambda text: m.Refused(reason=text))),
    Reading: _Kind(4, _write_reading, _read_reading),
    Command: _Kind(5, _write_command, _read_command),
    m.Heartbeat: _Kind(6, lambda x: [], _empty(m.Heartbeat)),
    m.Reset: _Kind(7, lambda x: [x.episode, x.seed], _read_reset),
    m.Stop: _Kind(8, lambda x: [x.reason], _text_only(lambda text: m.Stop(reason=text))),
    m.EmergencyStop: _Kind(
        9, lambda x: [x.reason], _text_only(lambda text: m.EmergencyStop(reason=text))
    ),
    m.Clear: _Kind(10, lambda x: [], _empty(m.Clear)),
    m.Status: _Kind(11, lambda x: [x.source, dict(x.values)], _read_status),
    m.Bye: _Kind(12, lambda x: [], _empty(m.Bye)),
}
KINDS: dict[int, _Kind] = {kind.number: kind for kind in _BY_TYPE.values()}
"""Every kind of message by its number on the wire."""


def sizes_of(description: RobotDescription) -> Sizes:
    """What the arrays of a session with this robot measure."""
    return Sizes(len(description.sensors), len(description.actuators), description.pose_dim)


def kinds_of(types: Sequence[type[Any]]) -> frozenset[int]:
    """Numbers of kinds of message."""
    return frozenset(_BY_TYPE[each].number for each in types)
