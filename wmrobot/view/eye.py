"""Where a robot is shown."""

from collections.abc import Mapping
from typing import Any, Protocol


class Eye(Protocol):
    """Where a driver shows what happens: a window, or nothing at all."""

    def publish(self, message: Mapping[str, Any]) -> None:
        """Show a message; see `layout`."""
        ...

    def publish_model(self, model: Any) -> int:
        """Write a model to be drawn; returns its number."""
        ...

    def commands(self) -> list[tuple[str, Any]]:
        """What people have done since the last call."""
        ...
