"""Between control loop and window: packets, the ring, controls, and who may enter."""

from pathlib import Path

import numpy as np
import pytest

from wmrobot.core.errors import ConfigError, DataError
from wmrobot.view.controls import Control, by_name, from_query, to_query
from wmrobot.view.mailbox import SLOT_BYTES, SLOTS, Mailbox
from wmrobot.view.packet import pack, unpack

HORIZON = Control(
    name="horizon", label="Horizon", kind="slider", group="Planner", unit="decisions",
    default=3, low=1, high=16,
)  # fmt: skip
SPEED = Control(
    name="speed", label="Speed", kind="slider", group="Drive", unit="x", default=1.0, low=0.1,
    high=1.0, step=0.1,
)  # fmt: skip
AGENT = Control(
    name="agent", label="Agent", kind="choice", group="Planner", default="trained",
    choices=("trained", "prior"),
)  # fmt: skip
GHOST = Control(name="ghost", label="Ghost", kind="toggle", group="Drive", default=True)
PUSH = Control(name="push", label="Push", kind="button", group="World")
CONTROLS = (HORIZON, SPEED, AGENT, GHOST, PUSH)


def test_packet_comes_back() -> None:
    message = {
        "tick": 3,
        "series": {"reward": 0.5, "imagined": None},
        "qpos": np.arange(5.0),
        "camera": np.zeros((4, 6, 3), np.uint8),
        "nothing": np.zeros((0, 2), np.float32),
        "say": "Grüße",
    }
    found = unpack(pack(message))
    assert found.keys() == message.keys()
    for name, value in message.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)
        else:
            assert found[name] == value


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Mailbox, Mailbox]:
    path = tmp_path / "mailbox"
    return Mailbox(path, create=True), Mailbox(path)


def test_mailbox_keeps_the_order(ends: tuple[Mailbox, Mailbox]) -> None:
    writer, reader = ends
    assert reader.read() == ([], 0)
    for text in (b"one", b"two"):
        writer.write(text)
    assert reader.read() == ([b"one", b"two"], 0)
    assert reader.read() == ([], 0)


def test_slow_reader_gets_the_newest(ends: tuple[Mailbox, Mailbox]) -> None:
    writer, reader = ends
    for number in range(10 * SLOTS):
        writer.write(str(number).encode())
    messages, lost = reader.read()
    assert messages == [str(n).encode() for n in range(9 * SLOTS, 10 * SLOTS)]
    assert lost == 9 * SLOTS


def test_message_that_is_being_written_is_left_out(ends: tuple[Mailbox, Mailbox]) -> None:
    writer, reader = ends
    writer.write(b"whole")
    writer.write(b"torn")
    start = writer._start(2)
    writer._memory[start + 16 : start + 17] = b"T"  # its checksum was of other bytes
    assert reader.read() == ([b"whole"], 1)


def test_message_that_is_too_large_is_refused(ends: tuple[Mailbox, Mailbox]) -> None:
    with pytest.raises(DataError, match=f"at most {SLOT_BYTES - 16} bytes, got {SLOT_BYTES}"):
        ends[0].write(bytes(SLOT_BYTES))


@pytest.mark.parametrize(
    ("control", "value", "complaint"),
    [
        (HORIZON, 17, "horizon: expected 1 to 16 decisions, got 17"),
        (HORIZON, float("nan"), "horizon: expected 1 to 16 decisions, got nan"),
        (HORIZON, True, "horizon: expected a number, got True"),
        (HORIZON, "5", "horizon: expected a number, got '5'"),
        (AGENT, "priest", "no agent named 'priest'. Did you mean 'prior'? Known: prior, trained"),
        (GHOST, 1, "ghost: expected true or false, got 1"),
    ],
)
def test_values_that_no_widget_gives_are_refused(
    control: Control, value: object, complaint: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        control.check(value)
    assert str(raised.value) == complaint


def test_whole_numbers_stay_whole() -> None:
    assert HORIZON.check(5.0) == 5
    assert isinstance(HORIZON.check(5.0), int)
    assert isinstance(SPEED.check(1), float)


def test_address_keeps_what_differs_from_the_defaults() -> None:
    values = {"horizon": 5, "speed": 0.5, "agent": "trained", "ghost": False}
    query = to_query(CONTROLS, values)
    assert query == {"horizon": "5", "speed": "0.5", "ghost": "false"}
    assert from_query(CONTROLS, query) == ({"horizon": 5, "speed": 0.5, "ghost": False}, [])


def test_address_with_rubbish_is_told() -> None:
    query = {"horizon": "many", "agent": "prior", "push": "true", "fixedDpr": "1"}
    values, complaints = from_query(CONTROLS, query)
    assert values == {"agent": "prior"}
    assert complaints == ["horizon: expected a number, got 'many'"]


def test_controls_of_a_driven_robot_have_units_and_names_of_their_own() -> None:
    from wmrobot.plan.config import MppiConfig
    from wmrobot.view.live_layout import (
        drive_controls,
        planner_controls,
        record_controls,
        world_controls,
    )

    controls = (
        *drive_controls(1, follow=True),
        *planner_controls(MppiConfig(), "trained"),
        *world_controls(("torso", "foot"), 40.0),
        *record_controls((), is_run=True, has_scene=True),
    )
    assert len(by_name(controls)) == len(controls)
    for control in controls:
        assert control.hint, control.name
        if control.kind == "slider":
            assert control.unit, control.name
        if control.kind != "button":
            assert control.check(control.default) == control.default
