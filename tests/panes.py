"""A window's end of the loop, for tests: shows nothing, remembers all."""

from collections import deque
from collections.abc import Mapping
from typing import Any


class Pane:
    """A window that nobody looks at; what it is told stays to be asked about."""

    def __init__(self) -> None:
        self.is_open = True
        self.messages: list[dict[str, Any]] = []
        self.pressed: deque[tuple[str, Any]] = deque()

    def publish(self, message: Mapping[str, Any]) -> None:
        self.messages.append(dict(message))

    def publish_model(self, model: Any) -> int:
        return 1

    def commands(self) -> list[tuple[str, Any]]:
        heard = list(self.pressed)
        self.pressed.clear()
        return heard

    def said(self) -> list[str]:
        return [message["say"] for message in self.messages if "say" in message]
