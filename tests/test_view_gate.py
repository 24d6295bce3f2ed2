"""The window's door: token, origin, and messages that make sense."""

import http
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("viser", reason="needs wmrobot[view]")

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from wmrobot.core.errors import MissingExtraError
from wmrobot.view.page.gate import LARGEST, Gate, is_sensible

CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, 0.0),
    "fov": 1.0, "near": 0.1, "far": 10.0, "image_height": 10, "image_width": 10,
    "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, 0.0, 1.0),
}  # fmt: skip
UPDATE = {"type": "GuiUpdateMessage", "uuid": "x", "updates": {"value": 3}}
encode = msgspec.msgpack.encode


@pytest.mark.parametrize("message", [CAMERA, UPDATE])
def test_what_a_page_says_is_heard(message: dict[str, Any]) -> None:
    assert is_sensible(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        "text",
        b"",
        b"\xff\x00",
        encode([1, 2]),
        encode({"type": "Nonsense"}),
        encode({"no": "type"}),
        b"\x91" * 60_000,  # lists in lists
        encode({"type": "ShareUrlRequest"}),  # would open a tunnel to the world
        encode({"type": "FileTransferStartUpload"}),
        encode({"type": "ResetGuiMessage"}),
        encode({**UPDATE, "updates": {"disabled": True}}),
        encode({**UPDATE, "updates": 3}),
        encode({"type": "ViewerCameraMessage"}),
        encode({**UPDATE, "uuid": "x" * LARGEST}),
    ],
    ids=str,
)
def test_anything_else_is_not(message: object) -> None:
    assert not is_sensible(message)


@pytest.fixture
def gate() -> Gate:
    return Gate(frozenset({"127.0.0.1"}), lambda: {"title": "t"}, lambda query: None)


def ask(gate: Gate, path: str, local: str = "127.0.0.1", **headers: str) -> Response | None:
    """What the door answers; the inner server always says 200, with the path."""

    def inner(connection: Any, request: Request) -> Response:
        body = f"<head></head>{request.path}".encode()
        return Response(http.HTTPStatus.OK, "OK", Headers(), body)

    request = Request(path, Headers({"Host": "127.0.0.1:8080", **headers}))
    connection: Any = SimpleNamespace(local_address=(local, 8080))
    answer: Response | None = gate._guard(inner)(connection, request)
    return answer


def test_page_needs_its_token(gate: Gate) -> None:
    page = ask(gate, f"/{gate.token}/")
    assert page is not None
    assert page.status_code == 200
    assert b'<script src="page.js">' in page.body
    for path in ("/", "/wrong/", f"/{gate.token}x/", "/state", f"//{gate.token}/"):
        answer = ask(gate, path)
        assert answer is not None
        assert answer.status_code == 403, path
    assert gate.turned_away == 5


@pytest.mark.parametrize(
    ("headers", "enters"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:8080"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:9999"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_socket_needs_the_pages_own_origin(
    gate: Gate, headers: dict[str, str], enters: bool
) -> None:
    answer = ask(gate, f"/{gate.token}", Upgrade="websocket", **headers)
    assert (answer is None) == enters


def test_name_that_was_led_here_is_turned_away(gate: Gate) -> None:
    for host, expected in (("evil.example", 403), ("192.168.1.20", 403), ("127.0.0.1", 200)):
        answer = ask(gate, f"/{gate.token}/", Host=f"{host}:8080")
        assert answer is not None
        assert answer.status_code == expected


def test_machine_is_found_by_the_address_that_it_was_asked_at(gate: Gate) -> None:
    answer = ask(gate, f"/{gate.token}/", local="192.168.1.20", Host="192.168.1.20:8080")
    assert answer is not None
    assert answer.status_code == 200


def test_ipv6_stands_in_brackets() -> None:
    gate = Gate(frozenset({"::1"}), dict, lambda query: None)
    for host, origin, expected in (
        ("[::1]:8080", "http://[::1]:8080", 200),
        ("[::1]:8080", "http://[::2]:8080", 403),
        ("[::2]:8080", "http://[::2]:8080", 403),
        ("[::1:8080", "http://[::1:8080", 403),
    ):
        answer = ask(gate, f"/{gate.token}/", local="::1", Host=host, Origin=origin)
        assert answer is not None
        assert answer.status_code == expected, host


def test_a_socket_of_both_kinds_knows_its_ipv4_address(gate: Gate) -> None:
    local = "::ffff:192.168.1.20"
    answer = ask(gate, f"/{gate.token}/", local=local, Host="192.168.1.20:8080")
    assert answer is not None
    assert answer.status_code == 200


def test_a_path_of_any_letters_is_turned_away(gate: Gate) -> None:
    answer = ask(gate, "/\u00fc\udce4/")
    assert answer is not None
    assert answer.status_code == 403


def test_query_of_an_opened_address_arrives() -> None:
    arrived: list[dict[str, str]] = []
    gate = Gate(frozenset({"127.0.0.1"}), dict, arrived.append)
    ask(gate, f"/{gate.token}/?horizon=5&agent=prior")
    ask(gate, f"/{gate.token}/state?shadows=false")  # what a page asks for
    ask(gate, f"/{gate.token}/state")  # and every second from then on
    assert arrived == [{"horizon": "5", "agent": "prior"}, {"shadows": "false"}]


def test_window_does_not_open_without_its_door(gate: Gate) -> None:
    with pytest.raises(MissingExtraError, match="serves its page in another way"), gate.installed():
        pass  # a viser that no longer calls `serve`
