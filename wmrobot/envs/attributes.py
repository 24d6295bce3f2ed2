"""What an object keeps in its attributes, as a tree of arrays and JSON, and back.

*Plain* are None, bool, int, float, str, numpy scalars and arrays of numbers, numpy's random
streams, and lists, tuples, dicts (with string keys) and deques of plain values. Functions and
classes do not change and are passed over.
"""

import math
from collections import deque
from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np

Tree = dict[str, Any]
SEQUENCES: dict[str, Callable[[Any], Any]] = {"@list": list, "@tuple": tuple}


class NotPlainError(TypeError):
    """A value whose state cannot be told from outside."""


def save_attributes(owner: object, skip: Container[str] = (), strict: bool = True) -> Tree:
    """Every plain attribute of an object.

    Args:
        owner: The object; only its own attributes count, not its class's.
        skip: Names to leave out.
        strict: Whether an attribute that is not plain is an error, or left out.

    Raises:
        NotPlainError: An attribute is not plain, and `strict`.
    """
    saved = {}
    for name, value in vars(owner).items():
        if name in skip or isinstance(value, type) or callable(value):
            continue
        try:
            saved[name] = encode(value)
        except NotPlainError:
            if strict:
                raise
    return saved


def load_attributes(owner: object, saved: Mapping[str, Any]) -> None:
    """Put back what `save_attributes` took."""
    for name, value in saved.items():
        current = getattr(owner, name, None)
        if isinstance(current, np.random.RandomState):
            current.set_state(value["@stream"])  # in place: others may hold the same stream
        elif isinstance(current, np.random.Generator):
            current.bit_generator.state = value["@stream"]
        elif isinstance(current, np.ndarray) and current.base is not None:
            current[...] = decode(value)  # a view, perhaps of the simulator's own memory
        else:
            setattr(owner, name, decode(value))


def encode(value: Any) -> Any:
    """A plain value as a tree whose leaves are arrays and JSON.

    Raises:
        NotPlainError: The value is not plain.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case np.generic() | float() if not isinstance(value, float) or not math.isfinite(value):
            return {"@scalar": np.atleast_1d(value)}
        case float():
            return float(value)
        case np.ndarray() if value.dtype.kind in "biuf":
            return value.copy()
        case np.random.RandomState():
            return {"@stream": _copy(value.get_state(legacy=False))}
        case np.random.Generator():
            return {"@stream": _copy(value.bit_generator.state)}
        case deque():
            return {"@deque": _encode_items(value), "maxlen": value.maxlen}
        case list() | tuple() if type(value) in (list, tuple):
            return {f"@{type(value).__name__}": _encode_items(value)}
        case dict() if all(isinstance(key, str) for key in value):
            return {"@dict": {key: encode(item) for key, item in value.items()}}
    raise NotPlainError(type(value).__name__)


def decode(tree: Any) -> Any:
    """The plain value that `encode` turned into a tree."""
    match tree:
        case {"@scalar": array}:
            return array.reshape(())[()]
        case {"@deque": items, "maxlen": maxlen}:
            return deque(_decode_items(items), maxlen=maxlen)
        case {"@dict": items}:
            return {key: decode(item) for key, item in items.items()}
        case np.ndarray():
            return tree.copy()
        case dict():
            ((kind, items),) = tree.items()
            return SEQUENCES[kind](_decode_items(items))
    return tree


def _encode_items(values: Any) -> Tree:
    return {str(index): encode(value) for index, value in enumerate(values)}


def _decode_items(items: Mapping[str, Any]) -> list[Any]:
    return [decode(items[str(index)]) for index in range(len(items))]


def _copy(state: Any) -> Any:
    """A bit generator's state without references into the generator."""
    if isinstance(state, Mapping):
        return {key: _copy(value) for key, value in state.items()}
    return state.copy() if isinstance(state, np.ndarray) else state
