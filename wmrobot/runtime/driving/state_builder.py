"""From what a robot measures to the `state` that its planner was trained with.

In training the task's environment stacks measurements and commands into `state`; on a robot nobody
else does.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from wmrobot.runtime.arrays import Array, BoolArray, FloatArray
from wmrobot.runtime.bundle.description import Description, StateDescription
from wmrobot.runtime.errors import ObservationError


class StateBuilder:
    """Builds `state` of B robots, decision by decision.

        builder = StateBuilder(planner.description)
        state = builder.observe({"arm_sin": [0.0], ...})  # (B,) each
        action = planner.act({"state": state})
        builder.acted(action)

    Args:
        description: Of the planner.

    Raises:
        ObservationError: The planner sees no `state`.
    """

    def __init__(self, description: Description) -> None:
        if description.state is None:
            raise ObservationError("state: expected a planner that sees it, got one of pictures")
        self._cfg: StateDescription = description.state
        self._action_dim = description.action_dim
        self._scale = np.array([term.scale for term in self._cfg.terms], dtype=np.float32)
        self._offset = np.array([term.offset for term in self._cfg.terms], dtype=np.float32)
        clips = [term.clip or (-np.inf, np.inf) for term in self._cfg.terms]
        self._low, self._high = np.array(clips, dtype=np.float32).T
        self._is_plain = all(
            (term.scale, term.offset, term.clip) == (1.0, 0.0, None) for term in self._cfg.terms
        )
        self._history: FloatArray | None = None  # (B, history, R)
        self._commands: FloatArray | None = None  # (B, previous actions, A)
        self._fresh: BoolArray | None = None  # (B,) rows whose next measurement is their first

    @property
    def names(self) -> tuple[str, ...]:
        """Sensor terms, in order."""
        return tuple(term.name for term in self._cfg.terms)

    def reset(self, rows: Array | None = None) -> None:
        """The given rows (all by default) start afresh: nothing measured, no command sent."""
        if rows is None:
            self._history = self._commands = self._fresh = None
        elif self._fresh is not None and self._commands is not None:
            self._fresh[rows] = True
            self._commands[rows] = 0.0

    def observe(self, sensors: Mapping[str, npt.ArrayLike] | Array) -> FloatArray:
        """Take one measurement of every robot; returns `state` (B, O).

        Args:
            sensors: (B,) by the name of each sensor term, or (B, R) in their order.

        Raises:
            ObservationError: A term is missing, unknown or not finite, or has another B.
        """
        measured = self._measured(sensors)
        batch = len(measured)
        if self._history is None or self._commands is None or self._fresh is None:
            self._history = np.empty((batch, self._cfg.history, len(self.names)), np.float32)
            self._commands = np.zeros(
                (batch, self._cfg.previous_actions, self._action_dim), np.float32
            )
            self._fresh = np.ones(batch, dtype=np.bool_)
        if len(self._history) != batch:
            raise ObservationError(
                f"sensors: expected {len(self._history)} rows, got {batch}; reset() first"
            )
        self._history[:, :-1] = self._history[:, 1:].copy()
        self._history[:, -1] = measured
        self._history[self._fresh] = measured[self._fresh, None]
        self._fresh[:] = False
        parts = [self._history.reshape(batch, -1), self._commands.reshape(batch, -1)]
        return np.concatenate(parts, axis=1)

    def acted(self, action: FloatArray) -> None:
        """Remember the commands (B, A) in [-1, 1] that were sent; what lies outside is clipped."""
        assert self._commands is not None, "acted before the first observation"
        command = np.clip(np.asarray(action, dtype=np.float32), -1.0, 1.0)
        expected = (len(self._commands), self._action_dim)
        if command.shape != expected or not np.isfinite(command).all():
            raise ObservationError(f"action: expected a finite {expected}, got {action!r}")
        if self._cfg.previous_actions:
            self._commands = np.concatenate([self._commands[:, 1:], command[:, None]], axis=1)

    def _measured(self, sensors: Mapping[str, npt.ArrayLike] | Array) -> FloatArray:
        """(B, R) in the order and the units of training."""
        if isinstance(sensors, Mapping):
            if set(sensors) != set(self.names):
                odd = sorted(set(sensors) ^ set(self.names))
                raise ObservationError(
                    f"sensors: expected {list(self.names)}; missing or unknown: {odd}"
                )
            columns = [np.atleast_1d(np.asarray(sensors[name])) for name in self.names]
            if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
                shapes = {name: c.shape for name, c in zip(self.names, columns, strict=True)}
                raise ObservationError(f"sensors: expected one (B,) for each term, got {shapes}")
            sensors = np.stack(columns, axis=1)
        try:
            measured = np.array(sensors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ObservationError(f"sensors: expected numbers, got others ({error})") from None
        if measured.ndim != 2 or measured.shape[1] != len(self.names):
            raise ObservationError(
                f"sensors: expected shape (B, {len(self.names)}), got {measured.shape}"
            )
        if not np.isfinite(measured).all():
            row, column = np.argwhere(~np.isfinite(measured))[0]
            raise ObservationError(
                f"sensors: '{self.names[column]}' of row {row}: expected a finite number, "
                f"got {measured[row, column]}"
            )
        if self._is_plain:
            return measured
        scaled: FloatArray = measured * self._scale + self._offset
        return np.clip(scaled, self._low, self._high, out=scaled)
