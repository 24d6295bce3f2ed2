"""Ports, a network that is worse than the one there is, and what is due when."""

import time
from collections import Counter

import pytest

from tests.realtime import DT, MS, command
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.lateness import Lateness, measure_empty_loop
from wmrobot.runtime.motor_timeline import FURTHEST_NS, Timeline
from wmrobot.runtime.robot import Rung
from wmrobot.runtime.wire.impairment import ImpairedPort, Impairment
from wmrobot.runtime.wire.port import Port, is_loopback, wait


def test_timeline_replaces_what_was_to_come_from_a_plans_time_on() -> None:
    line = Timeline(DT)
    assert line.add(command(0.1, 0.2, 0.3, when_ns=10 * DT), 9 * DT) is None
    assert line.add(command(0.9, when_ns=11 * DT, sequence=2), 9 * DT) is None
    seen, entry = [], None
    for tick in range(10, 14):
        entry = line.advance(tick * DT) or entry
        assert entry is not None
        seen.append((round(float(entry.action[0]), 6), line.rung_at(tick * DT)))
    assert seen == [(0.1, Rung.FRESH), (0.9, Rung.FRESH), (0.9, Rung.HOLD), (0.9, Rung.HOLD)]
    assert line.add(command(0.1, when_ns=99 * DT + FURTHEST_NS), 14 * DT) == "early"


def test_timeline_does_not_grow_without_end() -> None:
    line = Timeline(DT)
    told = [line.add(command(0.1, when_ns=10 * DT + k), 9 * DT) for k in range(1000)]
    assert Counter(told) == {None: 257, "crowded": 743}


def test_lateness_is_told_to_a_bin() -> None:
    lateness = Lateness()
    for k in range(1, 1001):
        lateness.add(k * 1e-5)
    found = lateness.summary()
    assert found["count"] == 1000
    for name, expected in (("p50", 5e-3), ("p99", 9.9e-3)):
        assert expected <= found[name] <= expected * 1.1
    assert found["max"] == pytest.approx(1e-2)
    assert Lateness().summary()["max"] == 0.0


def test_an_empty_loop_is_measured() -> None:
    found = measure_empty_loop(0.002, 0.05).summary()
    assert found["count"] == 25
    assert 0 < found["max"] < 1.0


@pytest.mark.parametrize(
    ("host", "is_it"), [("127.0.0.1", True), ("0.0.0.0", False), ("localhost", True), ("x", False)]
)
def test_loopback_is_recognised(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


def test_a_port_beyond_loopback_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Port().close()
    assert capsys.readouterr().err == ""
    port = Port("0.0.0.0")
    port.close()
    assert (
        capsys.readouterr().err == f"listening on 0.0.0.0:{port.address[1]}, beyond this machine\n"
    )


def test_a_port_that_is_taken_is_one_line() -> None:
    port = Port()
    with pytest.raises(RobotError, match="expected a free port"):
        Port(port=port.address[1])
    port.close()


def through(impairment: Impairment, count: int = 200) -> list[tuple[int, float]]:
    """Numbers sent through such a network, in the order of arrival, with their time on the way."""
    sender, port = Port(), ImpairedPort(impairment, seed=1)
    try:
        left = {}
        for k in range(count):
            left[k] = time.monotonic()
            sender.send(b"%d" % k, port.address)
        arrived: list[tuple[int, float]] = []
        end, before = time.monotonic() + 5.0, -1
        while time.monotonic() < end and (len(arrived) > before or port.next_ns() is not None):
            before = len(arrived)
            wait([port], time.monotonic_ns() + 20 * MS)
            while (received := port.receive()) is not None:
                number = int(bytes(received[0]))
                arrived.append((number, time.monotonic() - left[number]))
        return arrived
    finally:
        sender.close()
        port.close()


def test_a_network_loses_and_doubles_at_the_rates_that_were_asked_for() -> None:
    counts = Counter(number for number, _ in through(Impairment(loss=0.3, duplicate=0.4)))
    assert 110 <= len(counts) <= 170  # 140 of 200, five standard deviations each way
    assert 0.2 <= sum(count == 2 for count in counts.values()) / len(counts) <= 0.6


@pytest.mark.parametrize("changes", [{"jitter_ms": 20.0}, {"reorder": 0.2}])
def test_a_network_delays_and_reorders(changes: dict[str, float]) -> None:
    arrived = through(Impairment(action_delay_ms=30.0, **changes))
    assert len(arrived) == 200
    assert all(on_the_way >= 0.03 for _, on_the_way in arrived)
    order = [number for number, _ in arrived]
    assert order != sorted(order)


def test_what_a_robot_tells_has_a_delay_of_its_own() -> None:
    port, other = ImpairedPort(Impairment(obs_delay_ms=200.0), seed=1), Port()
    other.send(b"command", port.address)
    wait([port], time.monotonic_ns() + 1_000 * MS)
    assert port.receive() is not None  # at once
    left = time.monotonic_ns()
    port.send(b"reading", other.address)
    while other.receive() is None:
        assert time.monotonic_ns() - left < 5_000 * MS
        port.receive()  # whoever listens sends what is due
        wait([port, other], time.monotonic_ns() + 20 * MS)
    assert time.monotonic_ns() - left >= 200 * MS
    port.close()
    other.close()


def test_in_a_stall_nothing_arrives() -> None:
    arrived = through(Impairment(stall_every_s=1e-6, stall_ms=60.0))
    assert [number for number, _ in arrived] == list(range(200))
    assert all(on_the_way >= 0.06 for _, on_the_way in arrived)


def test_an_unimpaired_network_keeps_order() -> None:
    assert [number for number, _ in through(Impairment())] == list(range(200))


@pytest.mark.parametrize("changes", [{"loss": 1.5}, {"jitter_ms": -1.0}])
def test_an_impossible_network_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(RobotError, match="expected"):
        Impairment(**changes)


def test_a_port_for_one_hears_no_strangers_until_it_is_for_anyone() -> None:
    port, friend, stranger = Port(), Port(), Port()
    number = port.address
    port.only_from(friend.address)
    stranger.send(b"stranger", number)
    friend.send(b"friend", number)
    wait([port], time.monotonic_ns() + 1_000_000_000)
    received = port.receive()
    assert received is not None
    assert bytes(received[0]) == b"friend"
    assert port.receive() is None
    port.send(b"answer", friend.address)
    port.from_anyone()
    assert port.address == number
    stranger.send(b"stranger", number)
    wait([port], time.monotonic_ns() + 1_000_000_000)
    received = port.receive()
    assert received is not None
    assert bytes(received[0]) == b"stranger"
    for each in (port, friend, stranger):
        each.close()


def test_a_port_whose_other_end_is_gone_does_not_raise() -> None:
    port, other = Port(), Port()
    port.only_from(other.address)
    other.close()
    for _ in range(5):
        port.send(b"anybody?", other.address)
        assert port.receive() is None
    port.close()
