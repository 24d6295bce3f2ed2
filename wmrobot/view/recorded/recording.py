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
from wmrobot.view.looks import Looks

SUFFIX = ".rollout.npz"
KIND, SCHEMA = "wmrobot rollout", 1
PLACE = ("qpos", "mocap_pos", "mocap_quat")
LONGEST = 100_000  # decisions: half an hour at 50 a second
TEXT = "header"
LOOKS = "looks/"
"""Before the names of a recording's looks in its file."""
NO_CURVES = ("time", "plan_gap", "episode", "decision", "look")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """T decisions of one robot.

    Attributes:
        task: What was driven.
        control_dt: Time between two decisions [s].
        arrays: (T, ...) by name: `qpos`, `qvel`, `mocap_pos`, `mocap_quat`, `action`, curves (T,)
            by their names, and where decisions are not evenly spaced their `time` [s]. Of a drive
            with deadlines also `plan_mean`, `plan_std`, `plan_gap`, `stages_ms` and `decision`.
            `episode` and `look` are numbers: of the episode, and of how the robot looks then.
        looks: (K, ...) by name: how it looked, see `view.looks`; empty where that was not kept.
        states: T words by name, for instance of a miss ladder or a guard.
        action_names: Name of each actuator; empty where nobody has told.
        stages: Names of the columns of `stages_ms`.
    """

    task: str
    control_dt: float
    arrays: Mapping[str, np.ndarray]
    looks: Looks = field(default_factory=dict)
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
        """What is a number a decision, and worth a curve."""
        return {
            name: value
            for name, value in self.arrays.items()
            if value.ndim == 1 and name not in NO_CURVES
        }

    def looks_at(self, index: int) -> Looks:
        """How the robot looked at a decision."""
        look = int(self.arrays["look"][index]) if self.looks else 0
        return {name: value[look] for name, value in self.looks.items()}

    def check(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse it where it is of another robot.

        Args:
            path: Where it lies.
            shapes: Of what is drawn of the robot that is here, see `view.looks`.

        Raises:
            DataError: It is.
        """
        place = {name: self.arrays[name] for name in PLACE if name in self.arrays}
        for name, value in {**place, **self.looks}.items():
            if value.shape[1:] != shapes.get(name):
                raise DataError(
                    f"{path}: {name}: expected {shapes.get(name, 'none')}, as the robot has that "
                    f"is here, got {value.shape[1:]}"
                )

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
        looks = {f"{LOOKS}{name}": value for name, value in self.looks.items()}
        np.savez_compressed(buffer, allow_pickle=False, **{**self.arrays, **looks, TEXT: text})
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
        found = [name for name in arrays if name.startswith(LOOKS)]
        looks = {name.removeprefix(LOOKS): arrays.pop(name) for name in found}
        lengths = {value.shape[:1] for value in arrays.values()}
        if "qpos" not in arrays or len(lengths) != 1 or not arrays["qpos"].size:
            raise DataError(f"{path}: expected arrays of one length, qpos among them")
        if arrays["qpos"].ndim != 2:
            raise DataError(f"{path}: qpos: expected (T, nq), got {arrays['qpos'].shape}")
        if looks and not _are_numbered(looks, arrays.get("look")):
            raise DataError(f"{path}: expected looks, and the number of one for each decision")
        return cls(
            task=str(header["task"]),
            control_dt=float(header["control_dt"]),
            arrays=arrays,
            looks=looks,
            states=header["states"],
        )


def _are_numbered(looks: Looks, numbers: np.ndarray | None) -> bool:
    """Whether there is a look for each number."""
    counts = {value.shape[:1] for value in looks.values()}
    if numbers is None or numbers.ndim != 1 or len(counts) != 1 or () in counts:
        return False
    return bool(((numbers >= 0) & (numbers < counts.pop()[0])).all())


class Recorder:
    """Collects a rollout while it is driven.

    Args:
        task: What is driven.
        control_dt: Time between two decisions [s].
    """

    def __init__(self, task: str, control_dt: float) -> None:
        self._task, self._dt = task, control_dt
        self._rows: list[dict[str, Any]] = []
        self._looks: list[Looks] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Mapping[str, Any], looks: Looks | None = None) -> None:
        """Remember one decision; what comes after the longest rollout is left out.

        Args:
            row: Arrays and numbers by name.
            looks: How the robot looks then; told always or never.
        """
        if len(self._rows) >= LONGEST:
            return
        row = dict(row)
        if looks:
            last = self._looks[-1] if self._looks else {}
            if not last or any(not np.array_equal(last[n], value) for n, value in looks.items()):
                self._looks.append(looks)
            row["look"] = len(self._looks) - 1
        self._rows.append(row)

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
        names = set(self._looks[0]) if self._looks else set()
        looks = {name: np.stack([look[name] for look in self._looks]) for name in sorted(names)}
        return Recording(task=self._task, control_dt=self._dt, arrays=arrays, looks=looks)


def recordings(folder: Path) -> dict[str, Path]:
    """Every rollout of a folder by its name, oldest first."""
    return {p.name.removesuffix(SUFFIX): p for p in sorted(folder.glob(f"*{SUFFIX}"))}
