"""Replay memory: one ring of rows per environment, one stored copy of every frame.

An episode of T decisions takes T + 1 rows: each holds an observation and what was done there; the
last holds no action. A decision can be sampled as soon as it is written. Rows are counted from the
first ever written (`head`), and live in slot `row % num_rows`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import Tensor

from wmrobot.core.errors import ConfigError, DataError
from wmrobot.core.spec import Array, BoolArray, FloatArray, IntArray, Obs, Step
from wmrobot.data.batch import Batch
from wmrobot.data.episodes import Episode

_HOST_SHARE = 0.6  # of the memory free at the start; the rest is for the model and the simulator
_TORCH_DTYPE = {"state": torch.float32, "rgb": torch.uint8}


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Size and place of the memory.

    Attributes:
        buffer_size: Decisions kept, over all environments; never more than the run takes.
        storage: `host` keeps rows in main memory, `device` beside the model.
        budget_gb: Most memory to take [GB]; 0 means 60% of what is free.
    """

    buffer_size: int = 1_000_000
    storage: Literal["host", "device"] = "host"
    budget_gb: float = 0.0

    def __post_init__(self) -> None:
        if self.buffer_size < 1:
            raise ConfigError(f"buffer_size: expected at least 1, got {self.buffer_size}")
        if self.budget_gb < 0:
            raise ConfigError(f"budget_gb: expected at least 0, got {self.budget_gb}")


class Replay:
    """See the module's text.

    Args:
        obs_shapes: Shape of one observation by modality, of one frame for pictures.
        action_dim: A.
        num_envs: Environments that write.
        capacity: Decisions to keep, over all environments.
        horizon: H of the subsequences.
        frame_stack: Frames that the model sees.
        device: Where rows are stored.
        budget_bytes: Most memory to take; None does not check.

    Raises:
        DataError: The rows do not fit the budget.
    """

    def __init__(
        self,
        *,
        obs_shapes: Mapping[str, tuple[int, ...]],
        action_dim: int,
        num_envs: int,
        capacity: int,
        horizon: int,
        frame_stack: int = 1,
        device: torch.device | str = "cpu",
        budget_bytes: int | None = None,
    ) -> None:
        self.num_envs, self.horizon, self.frame_stack = num_envs, horizon, frame_stack
        # a row more for each episode's last observation, and enough to hold one window at least
        self.num_rows = max(-(-capacity // num_envs) + horizon + frame_stack, 4 * horizon)
        self.num_rows += self.num_rows // 100
        self.num_bytes = self.num_rows * num_envs * row_bytes(obs_shapes, action_dim)
        if budget_bytes is not None and self.num_bytes > budget_bytes:
            raise DataError(
                f"replay of {capacity:,} decisions needs {self.num_bytes / 1e9:.2f} GB, expected "
                f"at most {budget_bytes / 1e9:.2f} GB; lower replay.buffer_size to "
                f"{int(capacity * budget_bytes / self.num_bytes):,} or raise replay.budget_gb"
            )
        rows = (self.num_rows, num_envs)
        self._obs = {
            name: torch.zeros(*rows, *shape, dtype=_TORCH_DTYPE[name], device=device)
            for name, shape in obs_shapes.items()
        }
        self._action = torch.zeros(*rows, action_dim, device=device)
        self._reward = torch.zeros(rows, device=device)
        self._terminated = torch.zeros(rows, device=device)
        self._start = np.zeros(rows, dtype=np.int64)  # first row of the episode that a row is in
        # decisions in the window that starts at a row; 0 where none does yet
        self._length = np.zeros(rows, dtype=np.int64)
        self._head = np.zeros(num_envs, dtype=np.int64)  # rows written so far
        self._queue = np.zeros((num_envs, self.num_rows), dtype=np.int64)  # rows with a window
        self._first = np.zeros(num_envs, dtype=np.int64)  # oldest and newest place in the queue
        self._last = np.zeros(num_envs, dtype=np.int64)
        self._columns = np.arange(num_envs)

    @property
    def num_samples(self) -> int:
        """Subsequences that can be drawn now."""
        return int((self._last - self._first).sum())

    def start(self, obs: Obs, columns: Array | None = None) -> None:
        """Open an episode in the given environments (all by default) with observations (B, ...)."""
        columns = self._columns if columns is None else columns
        self._start[self._head[columns] % self.num_rows, columns] = self._head[columns]
        self._write_obs(obs, columns)

    def add(self, action: FloatArray, step: Step) -> None:
        """Write one decision of every environment, and open the next episode where one ended.

        Args:
            action: (B, A) what was done at the last observation.
            step: What came of it.
        """
        self._record(
            self._columns, action, step.reward, step.terminated, step.final_obs, step.ended
        )
        ended = np.flatnonzero(step.ended)
        if len(ended):
            self.start({name: value[ended] for name, value in step.obs.items()}, ended)

    def add_episode(self, episode: Episode, column: int) -> None:
        """Write a whole recorded episode as if environment `column` had lived it.

        Raises:
            DataError: The episode's modalities or sizes are not this replay's.
        """
        self._check_episode(episode)
        columns = np.array([column])
        self.start({name: value[:1] for name, value in episode.obs.items()}, columns)
        length = len(episode.action)
        for t in range(length):
            last = t == length - 1
            self._record(
                columns,
                episode.action[t : t + 1],
                episode.reward[t : t + 1],
                np.array([last and episode.terminated]),
                {name: value[t + 1 : t + 2] for name, value in episode.obs.items()},
                np.array([last]),
            )

    def finished_episode(self, column: int) -> Episode | None:
        """The newest finished episode of an environment; None where its start is overwritten.

        To be asked right after the `add` that finished it.
        """
        last = int(self._head[column]) - 2  # the newest row has opened the next episode
        first = self._start[last % self.num_rows, column]
        if first < self._head[column] - self.num_rows:
            return None
        slots = torch.from_numpy(np.arange(first, last + 1) % self.num_rows)

        def take(stored: Tensor) -> Any:
            return stored[slots, column].cpu().numpy()

        return Episode(
            obs={name: take(stored) for name, stored in self._obs.items()},
            action=take(self._action)[:-1],
            reward=take(self._reward)[:-1],
            terminated=bool(take(self._terminated)[-2] > 0),
        )

    def sample(self, generator: np.random.Generator, batch_size: int) -> Batch:
        """Draw subsequences uniformly, with replacement.

        Raises:
            DataError: Nothing can be sampled yet.
        """
        counts = np.cumsum(self._last - self._first)
        if counts[-1] == 0:
            raise DataError(f"replay holds no {self.horizon} decisions in a row yet; collect more")
        drawn = generator.integers(counts[-1], size=batch_size)
        columns = np.searchsorted(counts, drawn, side="right")
        places = drawn - np.concatenate([[0], counts[:-1]])[columns] + self._first[columns]
        return self._gather(self._queue[columns, places % self.num_rows], columns)

    def _gather(self, rows: IntArray, columns: IntArray) -> Batch:
        length = self._length[rows % self.num_rows, columns]
        first = self._start[rows % self.num_rows, columns]
        offsets = np.arange(self.horizon + 1)[:, None]
        window = rows + np.minimum(offsets, length)  # (H + 1, B), the last observation repeated
        device = self._action.device
        column = torch.from_numpy(columns).to(device)
        slot = torch.from_numpy(window[:-1] % self.num_rows).to(device)
        mask = torch.from_numpy((offsets[:-1] < length).astype(np.float32)).to(device)
        return Batch(
            obs={name: self._gather_obs(name, window, first, columns) for name in self._obs},
            action=self._action[slot, column],
            reward=self._reward[slot, column],
            terminated=self._terminated[slot, column],
            mask=mask,
        )

    def _gather_obs(
        self, name: str, window: IntArray, first: IntArray, columns: IntArray
    ) -> Tensor:
        rows = self._obs[name]
        column = torch.from_numpy(columns).to(rows.device)
        if rows.dtype != torch.uint8:
            return rows[torch.from_numpy(window % self.num_rows).to(rows.device), column]
        age = np.arange(self.frame_stack - 1, -1, -1)
        stacked = np.maximum(window[..., None] - age, first[:, None])  # (H + 1, B, S)
        slot = torch.from_numpy(stacked % self.num_rows).to(rows.device)
        return rows[slot, column[:, None]].flatten(2, 3)

    def _record(
        self,
        columns: Array,
        action: FloatArray,
        reward: FloatArray,
        terminated: BoolArray,
        final_obs: Obs,
        ended: BoolArray,
    ) -> None:
        slots = (self._head[columns] - 1) % self.num_rows
        self._put(self._action, slots, columns, action)
        self._put(self._reward, slots, columns, reward)
        self._put(self._terminated, slots, columns, terminated)
        self._start[self._head[columns] % self.num_rows, columns] = self._start[slots, columns]
        self._write_obs(final_obs, columns)
        self._admit(columns, ended)

    def _put(self, target: Tensor, slots: Array, columns: Array, value: Array) -> None:
        target[torch.from_numpy(slots), torch.from_numpy(columns)] = torch.from_numpy(
            np.ascontiguousarray(value)
        ).to(target)

    def _write_obs(self, obs: Obs, columns: Array) -> None:
        slots = self._head[columns] % self.num_rows
        for name, rows in self._obs.items():
            self._put(rows, slots, columns, obs[name])
        self._length[slots, columns] = 0
        self._head[columns] += 1
        self._retire(columns)

    def _admit(self, columns: Array, ended: BoolArray) -> None:
        """Let windows be sampled that the newest row completes, or that an end cuts short."""
        last = self._head[columns] - 1
        first = self._start[last % self.num_rows, columns]
        whole = last - self.horizon >= first
        rows = (last - self.horizon)[whole]
        self._enqueue(rows, columns[whole], np.full(len(rows), self.horizon))
        for i in np.flatnonzero(ended):
            tail = np.arange(max(last[i] - self.horizon + 1, first[i]), last[i])
            self._enqueue(tail, np.full(len(tail), columns[i]), last[i] - tail)

    def _check_episode(self, episode: Episode) -> None:
        action_dim = self._action.shape[-1]
        if episode.action.shape[1] != action_dim:
            raise DataError(
                f"episode.action: expected shape (T, {action_dim}), got {episode.action.shape}"
            )
        if set(episode.obs) != set(self._obs):
            raise DataError(
                f"episode.obs: expected {sorted(self._obs)}, got {sorted(episode.obs)}; "
                "obs= must be what the episodes were recorded with"
            )
        for name, stored in self._obs.items():
            if episode.obs[name].shape[1:] != tuple(stored.shape[2:]):
                raise DataError(
                    f"episode.obs.{name}: expected shape (T + 1, "
                    f"{', '.join(map(str, stored.shape[2:]))}), got {episode.obs[name].shape}"
                )
            if stored.dtype == torch.uint8 and episode.obs[name].dtype != np.uint8:
                raise DataError(
                    f"episode.obs.{name}: expected uint8, got {episode.obs[name].dtype}; "
                    "pictures are whole grey levels from 0 to 255"
                )

    def _enqueue(self, rows: Array, columns: Array, lengths: Array) -> None:
        """Append rows, in rising order within each environment."""
        self._length[rows % self.num_rows, columns] = lengths
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            self._queue[column, self._last[column] % self.num_rows] = row
            self._last[column] += 1

    def _retire(self, columns: Array) -> None:
        """Forget windows whose oldest frame has just been overwritten."""
        for column in columns.tolist():
            oldest = self._head[column] - self.num_rows
            while oldest > 0 and self._first[column] < self._last[column]:
                row = self._queue[column, self._first[column] % self.num_rows]
                start = self._start[row % self.num_rows, column]
                if row >= oldest and max(row - self.frame_stack + 1, start) >= oldest:
                    break
                self._first[column] += 1

    def rows_since(self, heads: Array) -> dict[str, Any]:
        """Rows written since the heads were `heads` (B,), as a tree.

        The last `horizon` rows before them come too: their windows were not complete then.
        """
        begin = np.maximum(np.maximum(heads - self.horizon, 0), self._head - self.num_rows)
        columns = np.repeat(self._columns, self._head - begin)
        rows = np.concatenate([np.arange(a, b) for a, b in zip(begin, self._head, strict=True)])
        slots = rows % self.num_rows

        def take(stored: Tensor) -> Array:
            return stored[torch.from_numpy(slots), torch.from_numpy(columns)].cpu().numpy()

        return {
            "begin": begin,
            "end": self._head.copy(),
            "obs": {name: take(value) for name, value in self._obs.items()},
            "action": take(self._action),
            "reward": take(self._reward),
            "terminated": take(self._terminated),
            "start": self._start[slots, columns],
            "length": self._length[slots, columns],
        }

    @property
    def heads(self) -> Array:
        """(B,) rows written so far by each environment."""
        return self._head.copy()

    @property
    def oldest(self) -> Array:
        """(B,) oldest row of each environment that is still stored."""
        return np.maximum(self._head - self.num_rows, 0)

    def load(self, chunks: Iterable[Mapping[str, Any]]) -> None:
        """Fill an empty replay from chunks of `rows_since`, oldest first.

        Sampling goes on as before.

        Raises:
            DataError: The chunks are of other environments or leave a gap.
        """
        for chunk in chunks:
            begin, end = chunk["begin"], chunk["end"]
            if begin.shape != (self.num_envs,) or (self._head.any() and (begin > self._head).any()):
                raise DataError(
                    f"replay chunk: expected rows of {self.num_envs} environments up from "
                    f"{self._head.tolist()}, got {begin.tolist()}"
                )
            columns = np.repeat(self._columns, end - begin)
            rows = np.concatenate([np.arange(a, b) for a, b in zip(begin, end, strict=True)])
            slots = rows % self.num_rows
            for name, stored in self._obs.items():
                self._put(stored, slots, columns, chunk["obs"][name])
            self._put(self._action, slots, columns, chunk["action"])
            self._put(self._reward, slots, columns, chunk["reward"])
            self._put(self._terminated, slots, columns, chunk["terminated"])
            self._start[slots, columns] = chunk["start"]
            self._length[slots, columns] = chunk["length"]
            self._head = end.copy()
        self._rebuild_queue()

    def _rebuild_queue(self) -> None:
        self._first[:] = 0
        self._last[:] = 0
        for column in self._columns:
            rows = np.arange(max(self._head[column] - self.num_rows, 0), self._head[column])
            rows = rows[self._length[rows % self.num_rows, column] > 0]
            self._queue[column, : len(rows)] = rows
            self._last[column] = len(rows)
        self._retire(self._columns)


def row_bytes(obs_shapes: Mapping[str, tuple[int, ...]], action_dim: int) -> int:
    """Memory of one row [bytes]."""
    obs = sum(
        int(np.prod(shape)) * _TORCH_DTYPE[name].itemsize for name, shape in obs_shapes.items()
    )
    return obs + 4 * (action_dim + 2) + 3 * 8


def memory_budget(cfg: ReplayConfig, device: torch.device) -> int:
    """Most bytes that the replay may take, on the host or on the device."""
    if cfg.budget_gb:
        return int(cfg.budget_gb * 1e9)
    if cfg.storage == "device" and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _HOST_SHARE)
    return int(psutil.virtual_memory().available * _HOST_SHARE)
