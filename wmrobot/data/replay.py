"""Replay memory: one ring of rows per environment, one stored copy of every frame.

An episode of T decisions takes T + 1 rows: each holds an observation and what was done there; the
last holds no action. A decision can be sampled as soon as it is written. Writing, drawing, saving
and putting back stand together: they are one arithmetic of the same rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmrobot.core.errors import DataError
from wmrobot.core.spec import Array, BoolArray, FloatArray, IntArray, Obs, Step
from wmrobot.data.batch import Batch
from wmrobot.data.episodes import Episode
from wmrobot.data.memory import TORCH_DTYPE, row_bytes, send
from wmrobot.data.plans import PlannedAction, PlanTable
from wmrobot.data.windows import Windows

_CHUNK_BYTES = 256 * 10**6  # copied at once to be saved, on the device and on the host


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
        keep_plans: Whether to keep what the planner thought best at every decision.

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
        keep_plans: bool = False,
    ) -> None:
        self.num_envs, self.horizon, self.frame_stack = num_envs, horizon, frame_stack
        # a row more for each episode's last observation, and enough to hold one window at least
        self.num_rows = max(-(-capacity // num_envs) + horizon + frame_stack, 4 * horizon)
        self.num_rows += self.num_rows // 100
        bytes_a_row = num_envs * row_bytes(obs_shapes, action_dim, keep_plans=keep_plans)
        self.num_bytes = self.num_rows * bytes_a_row
        # each chunk begins with `horizon` rows of the one before: they should be few of its own
        self._chunk_rows = max(_CHUNK_BYTES // bytes_a_row, 4 * horizon)
        if budget_bytes is not None and self.num_bytes > budget_bytes:
            most = budget_bytes // bytes_a_row  # rows that would fit
            fitting = (most * 100 // 101 - horizon - frame_stack) * num_envs
            can_shrink = fitting > 0 and most >= 4 * horizon
            lower = f"lower replay.buffer_size to {fitting} or " if can_shrink else ""
            raise DataError(
                f"replay of {capacity:,} decisions needs {self.num_bytes / 1e9:.2f} GB, expected "
                f"at most {budget_bytes / 1e9:.2f} GB; {lower}raise replay.budget_gb"
            )
        rows = (self.num_rows, num_envs)
        self._obs = {
            name: torch.zeros(*rows, *shape, dtype=TORCH_DTYPE[name], device=device)
            for name, shape in obs_shapes.items()
        }
        self._action = torch.zeros(*rows, action_dim, device=device)
        self._reward = torch.zeros(rows, device=device)
        self._terminated = torch.zeros(rows, device=device)
        self.plans = (
            PlanTable(
                num_rows=self.num_rows, num_envs=num_envs, action_dim=action_dim, device=device
            )
            if keep_plans
            else None
        )
        self._windows = Windows(
            num_rows=self.num_rows, num_envs=num_envs, horizon=horizon, frame_stack=frame_stack
        )

    @property
    def num_samples(self) -> int:
        """Subsequences that can be drawn now."""
        return self._windows.count

    @property
    def mean_age(self) -> float:
        """How long ago, on average, what is drawn was lived [decisions of all environments]."""
        return self._windows.mean_age * self.num_envs

    def start(self, obs: Obs, columns: IntArray | None = None) -> None:
        """Open an episode in the given environments (all by default) with observations (B, ...)."""
        columns = self._windows.columns if columns is None else columns
        self._write_obs(obs, columns)
        self._windows.open(columns)

    def add(self, action: FloatArray, step: Step, plan: PlannedAction | None = None) -> None:
        """Write one decision of every environment, and open the next episode where one ended.

        Args:
            action: (B, A) what was done at the last observation.
            step: What came of it.
            plan: (B, A) what the planner thought best there; None where it was not asked.
        """
        self._record(
            self._windows.columns,
            action,
            step.reward,
            step.terminated,
            step.final_obs,
            step.ended,
            plan,
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
        columns = np.array([column])
        last = self._windows.head[columns] - 2  # the newest row has opened the next episode
        first = self._windows.start(last, columns)
        if first[0] < self._windows.oldest[column]:
            return None
        slots = torch.from_numpy(np.arange(first[0], last[0] + 1) % self.num_rows)

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
        return self.gather(*self.draw(generator, batch_size))

    def draw(self, generator: np.random.Generator, batch_size: int) -> tuple[IntArray, IntArray]:
        """Rows (n,) and rings (n,) where such subsequences begin.

        Raises:
            DataError: Nothing can be sampled yet.
        """
        return self._windows.draw(generator, batch_size)

    def replan(self, rows: IntArray, columns: IntArray, plan: PlannedAction) -> None:
        """Replace what the planner thought best at rows (n,) of rings (n,)."""
        assert self.plans is not None, "replan asked of a replay that keeps no plans"
        self.plans.put(rows % self.num_rows, columns, plan)

    def gather(self, rows: IntArray, columns: IntArray) -> Batch:
        """The subsequences that begin at rows (B,) of rings (B,), as `draw` gave them."""
        length = self._windows.length(rows, columns)
        first = self._windows.start(rows, columns)
        offsets = np.arange(self.horizon + 1)[:, None]
        window = rows + np.minimum(offsets, length)  # (H + 1, B), the last observation repeated
        column = self._send(columns)
        slot = self._send(window[:-1] % self.num_rows)
        mask = self._send((offsets[:-1] < length).astype(np.float32))
        return Batch(
            obs={name: self._gather_obs(name, window, first, columns) for name in self._obs},
            action=self._action[slot, column],
            reward=self._reward[slot, column],
            terminated=self._terminated[slot, column],
            mask=mask,
            plan=None if self.plans is None else self.plans.take(slot, column),
        )

    def _gather_obs(
        self, name: str, window: IntArray, first: IntArray, columns: IntArray
    ) -> Tensor:
        rows = self._obs[name]
        column = self._send(columns)
        if rows.dtype != torch.uint8:
            return rows[self._send(window % self.num_rows), column]
        age = np.arange(self.frame_stack - 1, -1, -1)
        stacked = np.maximum(window[..., None] - age, first[:, None])  # (H + 1, B, S)
        slot = self._send(stacked % self.num_rows)
        # whole pictures are copied, where two indices would copy byte by byte: 2.0 instead of
        # 17.6 ms for a batch of 128 x 4 stacks of three 64x64 pictures
        frame = (slot * self.num_envs + column[:, None]).flatten()
        frames = rows.flatten(0, 1).index_select(0, frame)
        return frames.view(*slot.shape, *frames.shape[1:]).flatten(2, 3)

    def _record(
        self,
        columns: IntArray,
        action: FloatArray,
        reward: FloatArray,
        terminated: BoolArray,
        final_obs: Obs,
        ended: BoolArray,
        plan: PlannedAction | None = None,
    ) -> None:
        slots = (self._windows.head[columns] - 1) % self.num_rows
        self._put(self._action, slots, columns, action)
        self._put(self._reward, slots, columns, reward)
        self._put(self._terminated, slots, columns, terminated)
        if self.plans is not None:
            self.plans.put(slots, columns, plan)
        self._write_obs(final_obs, columns)
        self._windows.follow(columns, ended)

    def _put(self, target: Tensor, slots: Array, columns: Array, value: Array) -> None:
        given = torch.from_numpy(np.ascontiguousarray(value)).to(target.dtype)
        target[self._send(slots), self._send(columns)] = send(given, target.device)

    def _send(self, value: Array) -> Tensor:
        return send(torch.from_numpy(value), self._action.device)

    def _write_obs(self, obs: Obs, columns: IntArray) -> None:
        slots = self._windows.head[columns] % self.num_rows
        for name, rows in self._obs.items():
            self._put(rows, slots, columns, obs[name])

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

    def chunks_since(self, heads: IntArray) -> Iterator[dict[str, Any]]:
        """The same as `rows_since`, in pieces that need little memory beside what is stored."""
        begin = np.maximum(heads, self.oldest)
        while (begin < self.heads).any():
            end = np.minimum(begin + self._chunk_rows, self.heads)
            yield self.rows_since(begin, end)
            begin = end

    def rows_since(self, heads: IntArray, until: IntArray | None = None) -> dict[str, Any]:
        """Rows written since the heads were `heads` (B,), as a tree.

        The last `horizon` rows before them come too: their windows were not complete then.

        Args:
            heads: (B,) rows written before.
            until: (B,) rows to stop before; None takes all.
        """
        windows = self._windows
        end = self.heads if until is None else until
        begin = np.maximum(heads - self.horizon, windows.oldest)
        rows, columns = _rows_between(begin, end)
        slots = rows % self.num_rows

        def take(stored: Tensor) -> Array:
            return stored[torch.from_numpy(slots), torch.from_numpy(columns)].cpu().numpy()

        return {
            "begin": begin,
            "end": end,
            "obs": {name: take(value) for name, value in self._obs.items()},
            "action": take(self._action),
            "reward": take(self._reward),
            "terminated": take(self._terminated),
            "start": windows.start(rows, columns),
            "length": windows.length(rows, columns),
        }

    @property
    def heads(self) -> IntArray:
        """(B,) rows written so far by each environment."""
        return self._windows.head.copy()

    @property
    def oldest(self) -> IntArray:
        """(B,) oldest row of each environment that is still stored."""
        return self._windows.oldest

    def load(self, chunks: Iterable[Mapping[str, Any]]) -> None:
        """Fill an empty replay from chunks of `chunks_since`, oldest first.

        Sampling goes on as before.

        Raises:
            DataError: The chunks are of other environments or leave a gap.
        """
        head = self.heads
        for chunk in chunks:
            begin, end = chunk["begin"], chunk["end"]
            if begin.shape != (self.num_envs,) or (head.any() and (begin > head).any()):
                raise DataError(
                    f"replay chunk: expected rows of {self.num_envs} environments up from "
                    f"{head.tolist()}, got {begin.tolist()}"
                )
            rows, columns = _rows_between(begin, end)
            slots = rows % self.num_rows
            for name, stored in self._obs.items():
                self._put(stored, slots, columns, chunk["obs"][name])
            self._put(self._action, slots, columns, chunk["action"])
            self._put(self._reward, slots, columns, chunk["reward"])
            self._put(self._terminated, slots, columns, chunk["terminated"])
            self._windows.put_back(rows, columns, chunk["start"], chunk["length"])
            head = end
        self._windows.rebuild(head)


def _rows_between(begin: Array, end: Array) -> tuple[IntArray, IntArray]:
    """Rows from `begin` (B,) up to `end` (B,) of every column, and the column of each."""
    runs = [np.arange(a, b) for a, b in zip(begin, end, strict=True)]
    return np.concatenate(runs), np.repeat(np.arange(len(runs)), [len(run) for run in runs])
