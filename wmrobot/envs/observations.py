"""One flat float32 vector out of whatever an environment observes, checked at every step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import FloatArray

_NUMERIC = "biuf"
"""NumPy's letters for booleans, integers and real numbers."""
_PICTURE_DIMS = 3  # height, width, channels
_NOTHING = np.empty(0, dtype=np.float32)


class StateLayout:
    """Order and names of the entries of `state`.

    Args:
        name: Task, for messages.
        spec: Nested mappings and sequences of arrays, or of what tells their `shape` and `dtype`;
            their order is kept. Pictures are left out: `obs=rgb` sees what the task draws.

    Raises:
        TaskError: A leaf is something else.
    """

    def __init__(self, name: str, spec: Any) -> None:
        self._name = name
        leaves = dict(_leaves(spec))
        for path, leaf in leaves.items():
            if not is_numbers(leaf):
                raise TaskError(
                    f"{name}: observation '{path}': expected an array of numbers, got {kind(leaf)}"
                )
        self._parts = leaves.keys()
        self._shapes = {
            path: tuple(leaf.shape) for path, leaf in leaves.items() if not _is_picture(leaf)
        }
        self.names = tuple(
            path if not shape else f"{path}[{','.join(map(str, index))}]"
            for path, shape in self._shapes.items()
            for index in np.ndindex(shape)
        )

    @property
    def dim(self) -> int:
        """Number of entries."""
        return len(self.names)

    def read(self, observation: Any) -> FloatArray:
        """Flatten one observation into a fresh (O,) array.

        Raises:
            ObservationError: It has other parts than told, another shape, or is not finite.
        """
        leaves = dict(_leaves(observation))
        if leaves.keys() != self._parts:
            raise ObservationError(
                f"{self._name}: expected an observation of {list(self._parts)}, got {list(leaves)}"
            )
        for path, shape in self._shapes.items():
            if np.shape(leaves[path]) != shape:
                raise ObservationError(
                    f"{self._name}: observation '{path}': expected shape {shape}, "
                    f"got {np.shape(leaves[path])}"
                )
        with np.errstate(over="ignore"):  # too large for float32: told below, by name
            state: FloatArray = np.concatenate(
                [_NOTHING, *(np.ravel(leaves[path]) for path in self._shapes)], dtype=np.float32
            )
        self.check(state)
        return state

    def check(self, state: FloatArray) -> None:
        """Refuse a (O,) state that is not finite.

        Raises:
            ObservationError: The first entry that is not, by name.
        """
        if not np.isfinite(state).all():
            worst = int(np.flatnonzero(~np.isfinite(state))[0])
            raise ObservationError(
                f"{self._name}: observation '{self.names[worst]}': expected a finite float32, "
                f"got {state[worst]}"
            )


def is_numbers(leaf: Any) -> bool:
    """Whether it is an array of numbers, or tells of one."""
    dtype = getattr(leaf, "dtype", None)
    return hasattr(leaf, "shape") and dtype is not None and np.dtype(dtype).kind in _NUMERIC


def _is_picture(leaf: Any) -> bool:
    return np.dtype(leaf.dtype) == np.uint8 and len(leaf.shape) == _PICTURE_DIMS


def kind(leaf: Any) -> str:
    """What a value is, in a word, for messages."""
    return str(getattr(leaf, "dtype", type(leaf).__name__))


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every leaf, in order; a lone leaf is called `observation`."""
    if isinstance(node, Mapping):
        children = [(str(key), child) for key, child in node.items()]
    elif isinstance(node, Sequence) and not isinstance(node, str):
        children = [(str(index), child) for index, child in enumerate(node)]
    else:
        yield path or "observation", node
        return
    for key, child in children:
        yield from _leaves(child, f"{path}/{key}" if path else key)
