"""A rollout on disk: what was driven, to be looked at again."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.core.errors import DataError
from wmrobot.core.files import write_atomic

SUFFIX = ".rollout.npz"
KIND, SCHEMA = "wmrobot rollout", 1
LONGEST = 100_000  # decisions: half an hour at 50 a second
TEXT = "header"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """T decisions of one robot.

    Attributes:
        task: What was driven.
        control_dt: Time between two decisions [s].
        arrays: (T, ...) by name: `qpos`, `qvel`, `mocap_pos`, `mocap_quat`, `action`, curves (T,)
            by their names, and where decisions are not evenly spaced their `time` [s]. Of a drive
            with deadlines also `plan_mean`, `plan_std`, `plan_gap`, `stages_ms` and `episode`.
        states: T words by name, for instance of a miss ladder or a guard.
        action_names: Name of each actuator; empty where nobody has told.
        stages: Names of the columns of `stages_ms`.
    """

    task: str
    control_dt: float
    arrays: Mapping[str, np.ndarray]
    states: Mapping[str, Sequence[str]] = field(default_factory=dict)
    action_names: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def times(self) -> np.ndarray:
        """(T,) of each decision since the first [s]."""
        even = np.arange(len(self)) * self.control_dt
        return self.arrays.get("time", even)

    @property
    def seconds(self) -> float:
        """How long it is [s]."""
        return float(self.times[-1]) + self.control_dt

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """What is a number a decision."""
        return {name: value for name, value in self.arrays.items() if value.ndim == 1}

    def save(self, path: Path) -> None:
        """Write it, all of it or nothing."""
        header = {
            "kind": KIND,
            "schema": SCHEMA,
            "task": self.task,
            "control_dt": self.control_dt,
            "states": {name: list(words) for name, words in self.states.items()},
        }
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **{**self.arrays, TEXT: text})
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Read it.

        Raises:
            DataError: It is no rollout, or malformed.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            header = json.loads(arrays.pop(TEXT).tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: expected a recorded rollout, got something else") from error
        if not isinstance(header, dict) or header.get("kind") != KIND:
            raise DataError(f"{path}: expected a recorded rollout, got something else")
        if header.get("schema") != SCHEMA:
            raise DataError(
                f"{path}: schema {header.get('schema')} is not what this wmrobot reads ({SCHEMA})"
            )
        lengths = {name: len(value) for name, value in arrays.items()}
        if "qpos" not in lengths or len(set(lengths.values())) != 1 or not lengths["qpos"]:
            raise DataError(f"{path}: expected arrays of one length, qpos among them")
        return cls(
            task=str(header["task"]),
            control_dt=float(header["control_dt"]),
            arrays=arrays,
            states=header["states"],
        )


class Recorder:
    """Collects a rollout while it is driven.

    Args:
        task: What is driven.
        control_dt: Time between two decisions [s].
    """

    def __init__(self, task: str, control_dt: float) -> None:
        self._task, self._dt = task, control_dt
        self._rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Remember one decision; what comes after the longest rollout is left out."""
        if len(self._rows) < LONGEST:
            self._rows.append(dict(row))

    def finish(self) -> Recording:
        """What was collected.

        Raises:
            DataError: Nothing was.
        """
        if not self._rows:
            raise DataError("recording: expected one decision at least, got none")
        names = set(self._rows[0]).intersection(*self._rows)
        arrays = {
            name: np.array([row[name] for row in self._rows], dtype=np.float64)
            for name in sorted(names)
        }
        return Recording(task=self._task, control_dt=self._dt, arrays=arrays)


def recordings(folder: Path) -> dict[str, Path]:
    """Every rollout of a folder by its name, oldest first."""
    return {p.name.removesuffix(SUFFIX): p for p in sorted(folder.glob(f"*{SUFFIX}"))}
