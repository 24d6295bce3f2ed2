"""Who may enter the window: by a token, from the page's own origin, with messages that make sense.

viser serves its page and its websocket on one port and has no hook for any of this. So while it
starts, its call of `websockets.asyncio.server.serve` is led through the gate; where a future viser
no longer makes that call, the window refuses to open rather than stand open.
"""

import http
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import websockets.asyncio.server as websockets_server
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from wmrobot.core.errors import MissingExtraError

# What a page sends by itself: its camera, presses, drags, and nothing that reaches out of the room
# (viser can also share a page through a public tunnel, and take files).
WELCOME = frozenset(
    {
        *("GuiUpdateMessage", "ViewerCameraMessage", "SceneNodeDragMessage"),
        *("SceneNodeClickMessage", "GuiButtonHoldMessage", "FileTransferPartAck"),
        *("GuiSetPanelPositionMessage", "GuiSetPanelCollapsedMessage"),
        *("GuiSetPanelWidthMessage", "GuiSetPanelHeightMessage"),
        *("LocalStorageGetItemResponseMessage", "GetRenderResponseMessage"),
    }
)
UNREADABLE = (
    msgspec.DecodeError,
    TypeError,
    KeyError,
    ValueError,
    AttributeError,
    AssertionError,
    RecursionError,
)
MAPPED = "::ffff:"  # what an IPv6 socket calls an IPv4 address by
LARGEST = 64 * 1024  # [bytes] far more than any of them needs
Respond = Callable[[ServerConnection, Request], Response | None]


class Gate:
    """Checks every request and every message; counts what it refuses.

    Args:
        hosts: Names that the page is reached by, without port; a request for another one was led
            here by somebody else's page.
        state: Told to the page: the query that its address should have, and whether all is well.
        arrive: Called with the query of an address that somebody opens, or whose page asks for it.
    """

    def __init__(
        self,
        hosts: frozenset[str],
        state: Callable[[], Mapping[str, Any]],
        arrive: Callable[[dict[str, str]], None],
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        self.turned_away = 0
        self.rubbish = 0
        self.is_installed = False
        self._hosts, self._state, self._arrive = hosts, state, arrive

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Lead every server that starts meanwhile through the gate.

        Raises:
            MissingExtraError: viser started none the way that it is known to.
        """
        module: Any = websockets_server
        original = module.serve

        def serve(handler: Any, host: Any, port: Any, **options: Any) -> Any:
            self.is_installed = True
            options["process_request"] = self._guard(options["process_request"])
            options["create_connection"] = self._connection_class()
            options["max_size"] = LARGEST * 16
            return original(handler, host, port, **options)

        module.serve = serve
        try:
            yield
        finally:
            module.serve = original
        if not self.is_installed:
            raise MissingExtraError(
                "this viser serves its page in another way than 1.1, without token and origin "
                'check; install the one that fits with: pip install ".[view]" in its checkout'
            )

    def _guard(self, inner: Respond) -> Respond:
        def respond(connection: ServerConnection, request: Request) -> Response | None:
            token, _, rest = request.path.removeprefix("/").partition("/")
            token = token.partition("?")[0]
            knows = secrets.compare_digest(token.encode(errors="replace"), self.token.encode())
            local = str(connection.local_address[0]).removeprefix(MAPPED)
            if not (knows and self._is_own(request.headers, local)):
                self.turned_away += 1
                return _answer(http.HTTPStatus.FORBIDDEN, "text/plain", b"wrong link\n")
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return None
            name, query = rest.partition("?")[0], dict(parse_qsl(urlsplit(request.path).query))
            if name in ("", "state") and query:
                self._arrive(query)
            if name == "state":
                return _answer(
                    http.HTTPStatus.OK, "application/json", json.dumps(self._state()).encode()
                )
            if name == "page.js":
                return _answer(http.HTTPStatus.OK, "application/javascript", _script())
            if name == "":
                return _with_script(inner, connection, request)
            request.path = f"/{rest}"
            return inner(connection, request)

        return respond

    def _is_own(self, headers: Headers, local: str) -> bool:
        """Whether a request comes from this page, or from nobody's.

        Args:
            headers: Of the request.
            local: This machine's address that it came to; a name that was led here is none.
        """
        if _name(headers.get("Host", "")) not in self._hosts | {local}:
            return False
        origin = headers.get("Origin")
        return origin is None or origin.partition("://")[2] == headers.get("Host")

    def _connection_class(self) -> type[ServerConnection]:
        gate = self

        class Checked(ServerConnection):
            """Hands on only what a page would say."""

            async def recv(self, decode: bool | None = None) -> Any:
                while True:
                    message = await super().recv(decode)
                    if is_sensible(message):
                        return message
                    gate.rubbish += 1

        return Checked


def is_sensible(message: object) -> bool:
    """Whether a message is one that the page sends, as far as can be told without its meaning."""
    if not isinstance(message, bytes) or len(message) > LARGEST:
        return False
    from viser._messages import Message

    try:
        told = msgspec.msgpack.decode(message)
        if not isinstance(told, dict) or told.get("type") not in WELCOME:
            return False
        if told["type"] == "GuiUpdateMessage" and set(told["updates"]) != {"value"}:
            return False
        Message.deserialize(message)
    except UNREADABLE:
        return False
    return True


def _name(host: str) -> str:
    """A host without its port, and without the brackets of IPv6; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _answer(status: http.HTTPStatus, kind: str, body: bytes) -> Response:
    headers = Headers()
    headers["Content-Type"] = f"{kind}; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    headers["Cache-Control"] = "no-store"
    headers["Referrer-Policy"] = "no-referrer"  # the token stands in the address
    headers["X-Frame-Options"] = "DENY"
    return Response(status, status.phrase, headers, body)


def _with_script(inner: Respond, connection: ServerConnection, request: Request) -> Response | None:
    """Viser's page, and ours with it."""
    request.path = "/"
    request.headers.pop("Accept-Encoding", None)  # so that it comes as it is, to be added to
    page = inner(connection, request)
    if page is None or page.status_code != http.HTTPStatus.OK:
        return page
    tag = b'<script src="page.js"></script></head>'
    return _answer(http.HTTPStatus.OK, "text/html", bytes(page.body).replace(b"</head>", tag, 1))


def _script() -> bytes:
    return files("wmrobot.view.page").joinpath("page.js").read_bytes()
