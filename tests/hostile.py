"""Datagrams that mean no good, from strangers and from within a session."""

import random
import struct
from collections.abc import Iterator

import numpy as np

from wmrobot.runtime.robot import Command
from wmrobot.runtime.wire.bodies import write_body
from wmrobot.runtime.wire.datagrams import HEADER, MAGIC, VERSION, encode


def from_strangers(seed: int) -> Iterator[bytes]:
    """Noise, headers that look right, greetings that are cut off, sessions that do not exist."""
    draw = random.Random(seed)
    plan = _plan(0.9, 1)
    while True:
        body = draw.randbytes(draw.randint(0, 64))
        kind, session, number = draw.randrange(256), draw.getrandbits(64), draw.getrandbits(63)
        yield body
        yield HEADER.pack(MAGIC, VERSION, kind, len(body), session, number) + body
        yield HEADER.pack(MAGIC, VERSION, 1, 1, session, number)
        yield encode(plan, session=session, sequence=number)


def from_within(session: int, num_actuators: int, seed: int) -> Iterator[bytes]:
    """Commands of a session: not finite, out of range, of another shape, cut off, replayed."""
    draw = random.Random(seed)
    replayed = encode(_plan(-0.9, num_actuators), session=session, sequence=1)
    while True:
        for value in (np.nan, np.inf, -np.inf, 1e30, -1.5):
            yield encode(_plan(value, num_actuators), session=session, sequence=2**62)
        yield encode(_plan(0.9, num_actuators + 1), session=session, sequence=2**62)
        yield encode(_plan(0.9, num_actuators), session=session, sequence=2**62)[:-2]
        yield replayed
        kind, body = write_body(_plan(0.9, num_actuators))
        assert body
        rubbish = draw.randbytes(draw.randint(1, 60))
        yield HEADER.pack(MAGIC, VERSION, kind, len(rubbish), session, 2**62) + rubbish
        yield struct.pack("<4s", MAGIC) + rubbish


def _plan(value: float, num_actuators: int) -> Command:
    actions = np.full((2, num_actuators), value, np.float32)
    return Command(sequence=2**40, made_from=1, when_ns=1, actions=actions)
