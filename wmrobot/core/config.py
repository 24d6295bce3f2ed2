"""Settings: frozen keyword-only dataclasses on one side, plain JSON values on the other.

`build` validates plain values into dataclasses and refuses what it does not know; `to_plain` is
its exact inverse. A field may be a plain value, a tuple, another dataclass, or a choice between
dataclasses told apart by their `kind`:

    planner: CemConfig | IcemConfig | MppiConfig = field(default_factory=MppiConfig)
"""

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from wmrobot.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
}


def build(cls: type[T], values: Mapping[str, Any], path: str = "", start: T | None = None) -> T:
    """Validate plain values into a dataclass.

    Args:
        cls: Frozen keyword-only dataclass; its `__post_init__` may raise `ConfigError`.
        values: Plain values by field name, nested as the dataclasses are. What is absent takes
            its default.
        path: Dotted name of this group in the whole, for messages.
        start: Where absent values come from instead of the class's own defaults.

    Raises:
        ConfigError: A key is unknown or missing, a value is of the wrong type or out of range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or cls.__name__}: expected a group of settings, got {values!r}")
    known = {field.name: field for field in fields(cls) if field.init}
    for key in values:
        if key not in known:
            names = [_join(path, name) for name in known]
            raise ConfigError(unknown("setting", _join(path, str(key)), names))
    arguments: dict[str, Any] = {}
    for name, field in known.items():
        default = _default(field) if start is None else getattr(start, name)
        if name in values:
            where = _join(path, name)
            arguments[name] = _convert(_hints(cls)[name], values[name], where, default)
        elif default is not MISSING:
            arguments[name] = default
        else:
            raise ConfigError(f"{_join(path, name)}: expected a value, got none")
    try:
        return cls(**arguments)
    except ConfigError as error:  # raised by __post_init__, which does not know its path
        message = str(error)
        starts_with_name = re.split(r"\W", message, maxsplit=1)[0] in known
        separator = "." if starts_with_name else ": "
        raise ConfigError(f"{path}{separator if path else ''}{message}") from None


def to_plain(settings: "DataclassInstance") -> dict[str, Any]:
    """Settings as JSON-able values, which `build` reopens exactly."""
    return {
        field.name: _plain(getattr(settings, field.name))
        for field in fields(settings)
        if field.init
    }


def default_values(cls: type[Any]) -> dict[str, Any]:
    """Defaults of a dataclass as plain values; a field without a default is left out."""
    defaults = {field.name: _default(field) for field in fields(cls) if field.init}
    return {name: _plain(value) for name, value in defaults.items() if value is not MISSING}


def known_keys(cls: type[Any], path: str = "") -> dict[str, Any]:
    """Every dotted key of a dataclass, groups included, with its annotation.

    Where there is a choice between dataclasses, the keys of all of them are known.
    """
    keys: dict[str, Any] = {}
    for field in fields(cls):
        if not field.init:
            continue
        name, hint = _join(path, field.name), _hints(cls)[field.name]
        keys[name] = hint
        for group in group_classes(hint):
            keys = known_keys(group, name) | keys
    return keys


def flatten(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf of nested mappings."""
    for name, value in tree.items():
        where = _join(path, str(name))
        if isinstance(value, Mapping):
            yield from flatten(value, where)
        else:
            yield where, value


def group_classes(hint: Any) -> tuple[type[Any], ...]:
    """Dataclasses among the alternatives of an annotation."""
    return tuple(
        option for option in alternatives(hint) if isinstance(option, type) and is_dataclass(option)
    )


def kinds(hint: Any) -> dict[str, type[Any]]:
    """Dataclasses of a choice by their `kind`; empty where the annotation is no such choice."""
    return {
        name: group for group in group_classes(hint) for name in get_args(_hints(group).get("kind"))
    }


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Members of a union; an annotation that is none is its own only member."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def describe(hint: Any) -> str:
    """What a person should write for an annotation, in words."""
    if len(options := alternatives(hint)) > 1:
        return " or ".join(describe(option) for option in options)
    if hint in WORDS:
        return WORDS[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(str(argument) for argument in arguments)}"
    if origin is tuple and arguments[-1:] == (...,):
        return f"a list, each {describe(arguments[0])}"
    if origin is tuple:
        return f"a list [{', '.join(describe(argument) for argument in arguments)}]"
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return "a path"
    return "a group of settings"


def _convert(hint: Any, value: Any, path: str, default: Any) -> Any:
    """One field's plain value as what its annotation asks for."""
    groups = group_classes(hint)
    if groups and not (value is None and types.NoneType in alternatives(hint)):
        start = default if type(default) in groups else None
        group = _choose(hint, value, path, start)
        return build(group, value, path, start if type(start) is group else None)
    if get_origin(hint) is tuple and group_classes(element := get_args(hint)[0]):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{path}: expected {describe(hint)}, got {value!r}")
        return tuple(
            _convert(element, entry, f"{path}[{index}]", MISSING)
            for index, entry in enumerate(value)
        )
    if isinstance(value, float) and value.is_integer() and float not in alternatives(hint):
        value = int(value)  # 1e6 is how people write a whole number
    try:
        return _checker(hint).validate_json(json.dumps(value))
    except (ValidationError, TypeError):
        raise ConfigError(f"{path}: expected {describe(hint)}, got {value!r}") from None


def _choose(hint: Any, value: Any, path: str, start: Any) -> type[Any]:
    """The dataclass that a group's values are for."""
    by_kind = kinds(hint)
    if not by_kind:
        return group_classes(hint)[0]
    kind = value.get("kind", getattr(start, "kind", None)) if isinstance(value, Mapping) else value
    if kind is None:
        raise ConfigError(f"{path}.kind: expected one of {', '.join(by_kind)}, got none")
    if kind not in by_kind:
        raise ConfigError(unknown(path, str(kind), by_kind))
    return by_kind[kind]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, PurePath) else value


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _checker(hint: Any) -> TypeAdapter[Any]:
    # Strict on JSON: no "3" for 3, no 1 for true. A list is still a tuple and 1 is still 1.0.
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
