"""One flat float32 vector out of whatever an environment observes, checked at every step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import FloatArray


class StateLayout:
    """Order and names of the entries of `state`.

    Args:
        name: Task, for messages.
        spec: Nested mappings and sequences whose leaves have a `shape`; their order is kept.
    """

    def __init__(self, name: str, spec: Any) -> None:
        self._name = name
        self._shapes = {path: tuple(leaf.shape) for path, leaf in _leaves(spec)}
        self.names = tuple(
            path if not shape else f"{path}[{','.join(map(str, index))}]"
            for path, shape in self._shapes.items()
            for index in np.ndindex(shape)
        )
        if not self.names:
            raise TaskError(f"{name}: expected at least one observed number, got none")

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
        if leaves.keys() != self._shapes.keys():
            raise ObservationError(
                f"{self._name}: expected an observation of {list(self._shapes)}, got {list(leaves)}"
            )
        for path, shape in self._shapes.items():
            if np.shape(leaves[path]) != shape:
                raise ObservationError(
                    f"{self._name}: observation '{path}': expected shape {shape}, "
                    f"got {np.shape(leaves[path])}"
                )
        with np.errstate(over="ignore"):  # too large for float32: told below, by name
            state: FloatArray = np.concatenate(
                [np.ravel(leaves[path]) for path in self._shapes], dtype=np.float32
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


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every leaf, in order; a lone leaf is called `observation`."""
    if isinstance(node, Mapping):
        children = [(str(key), child) for key, child in node.items()]
    elif isinstance(node, Sequence):
        children = [(str(index), child) for index, child in enumerate(node)]
    else:
        yield path or "observation", node
        return
    for key, child in children:
        yield from _leaves(child, f"{path}/{key}" if path else key)
