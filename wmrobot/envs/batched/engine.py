"""All rows of a ported suite task, stepped by one call of MuJoCo for each control step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

import mujoco
import numpy as np
from mujoco.batch import Batch

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import BoolArray, FloatArray, Obs, Step
from wmrobot.envs.bare_physics import STAGE, BarePhysics
from wmrobot.envs.batched.pictures import Pictures
from wmrobot.envs.batched.port import Port
from wmrobot.envs.batched.ported import RESETS_CHANGE_MODEL
from wmrobot.envs.batched.ports import PORTS
from wmrobot.envs.batched.tolerance import Floats
from wmrobot.envs.from_dm import DmTask
from wmrobot.envs.pixels import PixelEnv
from wmrobot.envs.rows import EnvOptions, Rows, Snapshot, stack
from wmrobot.envs.simulation_state import SIGNATURE
from wmrobot.envs.suite import suite_names

SURELY_FINITE = 1e76
"""Where squares add up to no more, every number is finite, in float32 as well."""
PART = 8192  # numbers that are looked at together: NumPy's products of more wake threads


class BatchedRows(Rows):
    """Rows whose decisions a `mujoco.batch.Batch` makes, with the results of `Rows`, bit for bit.

    Every row keeps its dm_control environment. It starts the episodes, so the random streams are
    dm_control's; it tells and takes snapshots, so they are those of `Rows`; and it is what is
    drawn. Between that it rests, and the batch has the truth.

    Args:
        name: Canonical name of a ported task.
        indices: Index of each row in the whole batch; its seed depends on nothing else.
        seed: Seed of the batch.
        threads: Threads that step the rows.
        **options: See `make_env`; no randomization.
    """

    def __init__(
        self,
        name: str,
        indices: Sequence[int],
        seed: int,
        *,
        threads: int = 1,
        **options: Unpack[EnvOptions],
    ) -> None:
        super().__init__(name, indices, seed, **options)
        eyes = [env for env in self._envs if isinstance(env, PixelEnv)]  # all of them, or none
        inner = [eye.inner for eye in eyes] or self._envs
        self._tasks = [env for env in inner if isinstance(env, DmTask)]  # all of them
        self._threads = threads
        self._source = suite_names()[name]
        self._own_models = self._source in RESETS_CHANGE_MODEL
        self._pictures = Pictures(eyes, own_models=self._own_models) if eyes else None
        # In decisions of the batch, plain integers: arrays of counts took 1.5 us more a decision.
        self._now = 0
        self._began = [0] * len(self._tasks)  # the running episode of each row
        self._seen = [0] * len(self._tasks)  # when its environment was last brought up to date
        self._next_end = 0
        self._watched: set[int] = set()
        self._batch: Batch | None = None  # its model is that of an episode: a reset may change it
        self._port: Port

    def reset(self) -> Obs:
        """Start an episode in every row."""
        begun = [self._begin(row) for row in range(len(self._tasks))]
        self._load(range(len(self._tasks)))
        return stack(begun)

    def step(self, actions: FloatArray) -> Step:
        """One decision of every row, for (B, A) actions."""
        batch, num_rows = self._batch, len(self._tasks)
        if batch is None:
            raise TaskError(
                f"{self.task_spec.name}: expected reset() before step(), no episode is running"
            )
        self._scale.write(actions, self._ctrl)
        warned: dict[int, str] = {}
        for control_step in self._kept:
            if failed := self._advance(None, self._sub_steps, STAGE):
                batch._check(None, failed)
            if batch.warning.tobytes() != self._quiet:
                warned = self._warnings() | warned  # what came first is told
            for kept, fact in control_step:
                kept[...] = fact
        reward = np.add.reduce(self._port.reward(self._facts))
        np.concatenate(self._port.observe(), axis=1, out=self._observed)
        squares = reward.dot(reward)
        for part in self._parts:
            squares += part.dot(part)
        if warned or not squares <= SURELY_FINITE:  # which a NaN is not either
            self._look_closely(warned, reward)
        state = self._observed.astype(np.float32)
        self._now += 1
        for row in self._watched:
            self._catch_up(row)
        truncated = np.zeros(num_rows, dtype=np.bool_)
        final_obs: Obs = {"state": state}
        if self._pictures is not None:
            final_obs = self._pictures.beside(final_obs, self._pictures.of_batch(batch))
        obs = {name: seen.copy() for name, seen in final_obs.items()}
        if self._now >= self._next_end:
            self._restart(truncated, obs)
        return Step(
            obs=obs,
            reward=reward.astype(np.float32),
            terminated=np.zeros(num_rows, dtype=np.bool_),
            truncated=truncated,
            final_obs=final_obs,
            success=np.zeros(num_rows, dtype=np.bool_),
            success_told=np.zeros(num_rows, dtype=np.bool_),  # the suite's tasks tell none
        )

    def snapshot(self) -> dict[str, Snapshot | None]:
        """State of each row by its index."""
        for row in range(len(self._tasks)):
            self._catch_up(row)
        return super().snapshot()

    def restore(self, saved: Mapping[str, Snapshot | None], obs: Obs) -> Obs:
        """Go back to what this class or `Rows` has told; see `Rows.restore`."""
        obs = super().restore(saved, obs)
        self._load(range(len(self._tasks)))
        return obs

    def physics(self, row: int) -> Any:
        """The dm_control physics of one row, from now on kept up to date: to look at only."""
        self._catch_up(row)
        self._watched.add(row)
        return super().physics(row)

    def bare_physics(self) -> BarePhysics | None:
        """A batch like this one, to be timed beside it; None before the first episode."""
        if self._batch is None:
            return None
        models = [task.env.physics.model.ptr for task in self._tasks] if self._own_models else None
        return BarePhysics(
            self._batch,
            models,
            self._scale,
            repeat=self.task_spec.action_repeat,
            nstep=self._sub_steps,
        )

    def frame(self, row: int, height: int, width: int, camera: int | str) -> np.ndarray:
        """One picture for people of one row, (height, width, 3) uint8."""
        self._catch_up(row)
        return super().frame(row, height, width, camera)

    def _open(self) -> Batch:
        """Build the batch around the model of an episode that has started."""
        env, num_rows = self._tasks[0].env, len(self._tasks)
        self._batch = batch = Batch(
            env.physics.model.ptr, num_rows, nthread=self._threads, persistent=True
        )
        domain, task = self._source
        self._port = port = PORTS[domain](batch, task)
        self._ctrl, self._sub_steps = batch.bind("ctrl"), env._n_sub_steps
        self._scale = self._tasks[0].scale
        self._quiet = batch.warning.tobytes()
        self._advance = batch._b.step  # `Batch.step` but for looking at `ids`: 0.8 us less a call
        # To ask sums of squares, in arrays that stay, takes 2 us less than to ask each number, and
        # than to silence NumPy while it rounds to float32.
        self._observed = np.empty((num_rows, self._tasks[0].layout.dim))
        numbers = self._observed.ravel()
        self._parts = [numbers[i : i + PART] for i in range(0, numbers.size, PART)]
        # What rewards follow from is kept after each control step, and all of them are reckoned
        # together: with `cheetah` and 8 rows 3 us less a decision than one after the other.
        repeat = self.task_spec.action_repeat
        self._facts = [np.empty((repeat, *fact.shape)) for fact in port.facts]
        self._kept = [
            [(kept[r], fact) for kept, fact in zip(self._facts, port.facts, strict=True)]
            for r in range(repeat)
        ]
        return batch

    def _load(self, rows: Iterable[int]) -> None:
        """Put into the batch where the environments of some rows are."""
        batch = self._open() if self._batch is None else self._batch
        for row in rows:
            batch.state[row] = self._tasks[row].env.physics.get_state(SIGNATURE)
            self._began[row] = self._now - (self._tasks[row].decisions or 0)
            self._seen[row] = self._now
        self._next_end = min(self._began) + self.task_spec.episode_decisions
        if self._own_models:
            batch.set_models([task.env.physics.model.ptr for task in self._tasks])

    def _catch_up(self, row: int) -> None:
        """Put into the environment of one row where the batch is."""
        if self._batch is not None and self._seen[row] != self._now:
            self._batch.get_data(row, self._tasks[row].env.physics.data.ptr)
            self._tasks[row].decisions = self._now - self._began[row]
            self._seen[row] = self._now

    def _begin(self, row: int) -> Obs:
        """Start an episode in the environment of one row; its first observation."""
        obs = self._tasks[row].reset()
        if self._pictures is None:
            return obs
        return self._pictures.beside(obs, self._pictures.of_environment(row))

    def _restart(self, truncated: BoolArray, obs: Obs) -> None:
        """Start the next episode where one ends now; tell where, and what to act on there."""
        last = self._now - self.task_spec.episode_decisions
        rows = [row for row, began in enumerate(self._began) if began <= last]
        for row in rows:
            truncated[row] = True
            for name, seen in self._begin(row).items():
                obs[name][row] = seen
        self._load(rows)

    def _warnings(self) -> dict[int, str]:
        """What MuJoCo has warned of since the last look, by row, in dm_control's words."""
        assert self._batch is not None
        before = np.frombuffer(self._quiet, dtype=np.int32).reshape(self._batch.warning.shape)
        new = self._batch.warning[:, :, 1] > before[:, :, 1]
        self._quiet = self._batch.warning.tobytes()
        names = list(mujoco.mjtWarning.__members__)
        return {
            row: "Physics state is invalid. Warning(s) raised: "
            + ", ".join(name for name, is_new in zip(names, new[row], strict=False) if is_new)
            for row in np.flatnonzero(new.any(axis=1)).tolist()
        }

    def _look_closely(self, warned: Mapping[int, str], reward: Floats) -> None:
        """Tell what is wrong with the first row of which something is."""
        name = self.task_spec.name
        with np.errstate(over="ignore"):  # too large for float32: told below, by name
            state = self._observed.astype(np.float32)
        for row, (value, seen) in enumerate(zip(reward.tolist(), state, strict=True)):
            if row in warned:
                raise ObservationError(f"{name}: the simulation diverged: {warned[row]}")
            if not np.isfinite(value):
                raise ObservationError(f"{name}: expected a finite reward, got {value}")
            self._tasks[row].layout.check(seen)
