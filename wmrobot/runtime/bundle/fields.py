"""JSON that came from elsewhere, read key by key, every value checked."""

import json
import math
from collections.abc import Sequence
from typing import Any

from wmrobot.runtime.errors import BundleError


def parse_json(data: bytes, where: str) -> Any:
    """Strict JSON: no NaN, no infinity, no key twice in one object.

    Args:
        data: Bytes of the file.
        where: Name of the file, for messages.

    Raises:
        BundleError: It is something else.
    """

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(entries)
        if len(found) != len(entries):
            names = [name for name, _ in entries]
            twice = next(name for name in names if names.count(name) > 1)
            raise BundleError(f"{where}: expected each key once, got '{twice}' twice")
        return found

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise BundleError(f"{where}: expected finite numbers, got {text}")
        return value

    try:
        return json.loads(
            data.decode(), object_pairs_hook=pairs, parse_float=number, parse_constant=number
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: expected JSON, got something else ({error})") from None


class Fields:
    """One object of a JSON file.

    Args:
        value: The object.
        where: Where it stands, for messages.

    Raises:
        BundleError: It is no object. Every method raises it too, where a value is missing or not
            as asked for.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise BundleError(f"{where}: expected an object, got {_short(value)}")
        self.value: dict[str, Any] = value
        self.where = where

    def has(self, key: str) -> bool:
        """Whether a value is told that is not null."""
        return self.value.get(key) is not None

    def group(self, key: str) -> "Fields":
        """An object."""
        return Fields(self._get(key), self._path(key))

    def groups(self, key: str) -> "list[Fields]":
        """A list of objects."""
        entries = self._list(key)
        return [Fields(entry, f"{self._path(key)}[{i}]") for i, entry in enumerate(entries)]

    def text(self, key: str) -> str:
        """Text, not empty."""
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "text", value)
        return value

    def whole(self, key: str, low: int) -> int:
        """A whole number, at least `low`."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise self.wrong(key, f"a whole number, at least {low}", value)
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._get(key)
        if not _is_number(value):
            raise self.wrong(key, "a finite number", value)
        return float(value)

    def positive(self, key: str) -> float:
        """A number above 0."""
        value = self.number(key)
        if value <= 0:
            raise self.wrong(key, "more than 0", value)
        return value

    def interval(self, key: str) -> tuple[float, float]:
        """Two finite numbers, the lower one first."""
        value = self._get(key)
        is_pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        if not is_pair or not value[0] < value[1]:
            raise self.wrong(key, "[low, high], finite and low < high", value)
        return float(value[0]), float(value[1])

    def shape(self, key: str) -> tuple[int, ...]:
        """A list of sizes, each at least 1."""
        entries = self._list(key)
        if not all(type(entry) is int and entry >= 1 for entry in entries):
            raise self.wrong(key, "a list of sizes, each at least 1", entries)
        return tuple(entries)

    def choice(self, key: str, known: Sequence[str]) -> str:
        """One of several texts."""
        value = self._get(key)
        if value not in known:
            raise self.wrong(key, f"one of {', '.join(known)}", value)
        return str(value)

    def wrong(self, key: str, expected: str, got: Any) -> BundleError:
        """The error that tells what is wrong with a value."""
        return BundleError(f"{self._path(key)}: expected {expected}, got {_short(got)}")

    def _get(self, key: str) -> Any:
        if key not in self.value:
            raise BundleError(f"{self._path(key)}: expected a value, got none")
        return self.value[key]

    def _list(self, key: str) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list", value)
        return value

    def _path(self, key: str) -> str:
        return f"{self.where}: {key}" if self.where.endswith(".json") else f"{self.where}.{key}"


def _is_number(value: Any) -> bool:
    # a whole number of JSON may be too large for a float
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
