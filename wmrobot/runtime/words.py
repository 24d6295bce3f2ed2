"""Settings of a process of the runtime, from words `key=value`. No files, no nesting."""

import difflib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from wmrobot.runtime.errors import RobotError

Config = TypeVar("Config")
YES_NO = {"true": True, "false": False}


def read_words(config: type[Config], words: Sequence[str]) -> Config:
    """A dataclass of text, whole numbers, numbers and flags from `key=value` words.

    Raises:
        SystemExit: `--help` is among the words, and was answered.
        RobotError: A key is unknown, comes twice or has no value, or a value is of another type.
    """
    if "--help" in words or "-h" in words:
        sys.stdout.write(_help(config))
        raise SystemExit(0)
    types: dict[str, Any] = {field.name: field.type for field in fields(config)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not text:
            raise RobotError(f"'{word}': expected key=value")
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise RobotError(f"no setting named '{key}'. {hint}Known: {', '.join(types)}")
        if key in values:
            raise RobotError(f"{key}: expected once, got it twice")
        values[key] = _convert(key, text, types[key])
    missing = [field.name for field in fields(config) if field.default is MISSING]  # type: ignore[arg-type]
    for name in missing:
        if name not in values:
            raise RobotError(f"{name}: expected {name}=<value>, got none")
    return config(**values)


def _help(config: type[Any]) -> str:
    defaults = (
        field.name + ("" if field.default is MISSING else f"={_shown(field.default)}")
        for field in fields(config)
    )
    docs = [inspect.cleandoc(base.__doc__ or "") for base in config.__mro__ if is_dataclass(base)]
    inherited = (doc.partition("Attributes:")[2].strip("\n") for doc in docs[1:])
    return "\n".join([docs[0], *inherited, "", f"Defaults: {' '.join(defaults)}", ""])


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _convert(key: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in YES_NO:
            raise RobotError(f"{key}: expected true or false, got '{text}'")
        return YES_NO[text]
    try:
        return kind(text)
    except ValueError:
        word = {int: "a whole number", float: "a number"}[kind]
        raise RobotError(f"{key}: expected {word}, got '{text}'") from None
