"""Settings from `key=value` words where Hydra is not installed: flat, typed, strictly read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from wmrobot.core.errors import ConfigError, unknown

T = TypeVar("T")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def load_plain(cls: type[T], words: Sequence[str]) -> T:
    """Settings of a dataclass whose fields are bool, int, float, str, such or None, or a mapping.

    A field that is a mapping takes `field.name=value`, whatever the name.

    Args:
        cls: The dataclass.
        words: Of the command line.

    Raises:
        ConfigError: A word is malformed, or names or holds something that is not known.
    """
    hints = get_type_hints(cls)
    groups = {field.name for field in fields(cls) if get_origin(hints[field.name]) is Mapping}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for word in words:
        match = re.fullmatch(r"([A-Za-z_][\w.]*)=(.+)", word, re.DOTALL)
        if match is None:
            raise ConfigError(f"expected key=value, got '{word}'")
        name, text = match.groups()
        group, _, rest = name.partition(".")
        if group in groups and rest:
            given.setdefault(group, {})[rest] = text
        elif name in hints and name not in groups:
            given[name] = _convert(name, text, hints[name])
        else:
            known = [*(hints.keys() - groups), *(f"{group}.<name>" for group in groups)]
            raise ConfigError(unknown("setting", name, known))
    return cls(**given)


def _convert(name: str, text: str, hint: Any) -> Any:
    """A value of the type that a field asks for."""
    options = get_args(hint) or (hint,)
    if text in ("null", "None") and NoneType in options:
        return None
    (kind,) = (option for option in options if option is not NoneType)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        raise ConfigError(f"{name}: expected {_WORDS[kind]}, got '{text}'") from None
