"""Episodes on disk: one safetensors file each, readable by anything that reads safetensors.

`obs.<modality>` (T + 1, ...), `action` (T, A), `reward` (T,), `terminated` (1,) uint8. The file's
metadata holds the format's version, the task's name, and as JSON its `TaskSpec`; an episode from
elsewhere need not have the last.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as dump_arrays

from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import ConfigError, DataError
from wmrobot.core.files import write_atomic
from wmrobot.core.spec import Array, FloatArray, Obs, TaskSpec, find_change, is_same_task

FORMAT = "wmrobot-episode-1"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """T decisions and the T + 1 observations around them.

    Attributes:
        obs: By modality (T + 1, ...).
        action: (T, A) in [-1, 1].
        reward: (T,).
        terminated: Whether the last decision ended it with nothing after; otherwise it was cut.

    Raises:
        DataError: Lengths that do not fit, or values that are not finite.
    """

    obs: Obs
    action: FloatArray
    reward: FloatArray
    terminated: bool

    def __post_init__(self) -> None:
        length = len(self.action)
        if length < 1 or self.action.ndim != 2:
            raise DataError(f"episode.action: expected shape (T, A), got {self.action.shape}")
        if self.reward.shape != (length,):
            raise DataError(f"episode.reward: expected shape ({length},), got {self.reward.shape}")
        for name, value in self.obs.items():
            if len(value) != length + 1:
                raise DataError(f"episode.obs.{name}: expected {length + 1} rows, got {len(value)}")
        values: dict[str, Array] = {"action": self.action, "reward": self.reward}
        values |= {f"obs.{name}": value for name, value in self.obs.items()}
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise DataError(f"episode.{name}: expected finite values, got NaN or Inf")


def write_episode(path: Path, episode: Episode, task: TaskSpec) -> None:
    """Write one episode of a task, atomically."""
    arrays = {f"obs.{name}": np.ascontiguousarray(value) for name, value in episode.obs.items()}
    arrays["action"] = np.ascontiguousarray(episode.action, dtype=np.float32)
    arrays["reward"] = np.ascontiguousarray(episode.reward, dtype=np.float32)
    arrays["terminated"] = np.array([episode.terminated], dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"format": FORMAT, "task": task.name, "spec": json.dumps(to_plain(task))}
    write_atomic(path, dump_arrays(arrays, metadata=told))


def read_episode(path: Path, task: TaskSpec | None = None) -> Episode:
    """Read one episode.

    Args:
        path: File.
        task: Refuse an episode of another task, or of this one while it was another; None takes
            any.

    Raises:
        DataError: Missing, truncated, of another format or task, or inconsistent.
    """
    try:
        with safe_open(path, framework="np") as file:
            meta = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise DataError(f"{path}: expected an episode, got something else ({error})") from None
    if meta.get("format") != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT}, got {meta.get('format')}")
    if task is not None:
        _refuse_another(path, meta, task)
    missing = {"action", "reward", "terminated"} - set(arrays)
    if missing:
        raise DataError(f"{path}: expected {', '.join(sorted(missing))}, which is missing")
    largest = float(np.abs(arrays["action"]).max(initial=0))
    if largest > 1 + 1e-6:
        raise DataError(
            f"{path}: expected actions in [-1, 1], got {largest:g}; scale them by what the "
            "actuators can do"
        )
    try:
        return Episode(
            obs={n.removeprefix("obs."): v for n, v in arrays.items() if n.startswith("obs.")},
            action=arrays["action"],
            reward=arrays["reward"],
            terminated=bool(arrays["terminated"].any()),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _refuse_another(path: Path, meta: Mapping[str, str], task: TaskSpec) -> None:
    if not is_same_task(meta.get("task", ""), task.name):
        raise DataError(
            f"{path}: expected an episode of {task.name}, got one of {meta.get('task')}"
        )
    if "spec" not in meta:
        return
    try:
        then = build(TaskSpec, json.loads(meta["spec"]))
    except (ValueError, ConfigError) as error:
        raise DataError(f"{path}: expected a task's facts as spec, got others ({error})") from None
    # which of the observations are learned from is no matter of the task's: their sizes are checked
    change = find_change(replace(then, obs_shapes={}), task)
    if change is not None:
        raise DataError(
            f"{path}: {task.name} has changed since this was recorded: {change}; put the task back "
            "as it was, or record anew"
        )


def read_episodes(folder: Path, task: TaskSpec | None = None) -> Iterator[tuple[Path, Episode]]:
    """File and content of every episode of a folder, in order of file names.

    Raises:
        DataError: There is none, or one is malformed.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder}: expected episodes (*.safetensors), found none")
    for path in files:
        yield path, read_episode(path, task)
