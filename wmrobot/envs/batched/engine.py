"""All rows of a ported suite task, stepped by one call of MuJoCo for each control step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import mujoco
import numpy as np
from mujoco.batch import Batch

from wmrobot.core.errors import ObservationError, TaskError
from wmrobot.core.spec import FloatArray, Obs, Step
from wmrobot.envs.batched.port import Port
from wmrobot.envs.batched.ported import RESETS_CHANGE_MODEL
from wmrobot.envs.batched.ports import PORTS
from wmrobot.envs.batched.tolerance import Floats
from wmrobot.envs.from_dm import DmTask
from wmrobot.envs.rows import Rows, Snapshot
from wmrobot.envs.simulation_state import SIGNATURE
from wmrobot.envs.suite import suite_names

STAGE = int(mujoco.mjtStage.mjSTAGE_VEL)
"""After a control step dm_control brings up to date what follows from positions and velocities."""


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
    """

    def __init__(self, name: str, indices: Sequence[int], seed: int, *, threads: int = 1) -> None:
        super().__init__(name, indices, seed)
        self._tasks = [env for env in self._envs if isinstance(env, DmTask)]  # all of them
        self._threads = threads
        self._source = suite_names()[name]
        self._own_models = self._source in RESETS_CHANGE_MODEL
        self._decisions = np.zeros(len(self._tasks), dtype=np.int64)  # of the running episodes
        self._behind = np.zeros(len(self._tasks), dtype=np.bool_)  # environments, of the batch
        self._watched: set[int] = set()
        self._batch: Batch | None = None  # its model is that of an episode: a reset may change it
        self._port: Port

    def reset(self) -> Obs:
        """Start an episode in every row."""
        obs = super().reset()
        self._load(range(len(self._tasks)))
        return obs

    def step(self, actions: FloatArray) -> Step:
        """One decision of every row, for (B, A) actions."""
        spec, batch = self.task_spec, self._batch
        if batch is None:
            raise TaskError(f"{spec.name}: expected reset() before step(), no episode is running")
        self._ctrl[:] = self._tasks[0].scale.rows(actions)
        reward: Floats | float = 0.0
        warned: dict[int, str] = {}
        for _ in range(spec.action_repeat):
            batch.step(nstep=self._sub_steps, stage=STAGE)
            if batch.warning.tobytes() != self._quiet:
                warned = self._warnings() | warned  # what came first is told
            reward = reward + self._port.reward()
        with np.errstate(over="ignore"):  # too large for float32: told below, by name
            state = np.concatenate(self._port.observe(), axis=1, dtype=np.float32)
        if warned or not (np.isfinite(state).all() and np.isfinite(reward).all()):
            self._refuse(warned, np.asarray(reward), state)
        self._decisions += 1
        self._behind[:] = True
        for row in self._watched:
            self._catch_up(row)
        truncated = self._decisions >= spec.episode_decisions
        return Step(
            obs={"state": self._restart(truncated, state)},
            reward=np.asarray(reward, dtype=np.float32),
            terminated=np.zeros_like(truncated),
            truncated=truncated,
            final_obs={"state": state},
            success=np.zeros_like(truncated),
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

    def bare_physics(self) -> Callable[[FloatArray], None] | None:
        """A decision of a batch like this one, which nothing observes; None before the start."""
        if self._batch is None:
            return None
        bare = Batch(self._batch.model, len(self._tasks), nthread=self._threads, persistent=True)
        bare.state[:] = self._batch.state
        ctrl, repeat, nstep = bare.bind("ctrl"), self.task_spec.action_repeat, self._sub_steps

        def step(actions: FloatArray) -> None:
            ctrl[:] = actions
            for _ in range(repeat):
                bare.step(nstep=nstep, stage=STAGE)

        return step

    def frame(self, row: int, height: int, width: int, camera: int | str) -> np.ndarray:
        """One picture for people of one row, (height, width, 3) uint8."""
        self._catch_up(row)
        return super().frame(row, height, width, camera)

    def _open(self) -> Batch:
        """Build the batch around the model of an episode that has started."""
        env = self._tasks[0].env
        self._batch = batch = Batch(
            env.physics.model.ptr, len(self._tasks), nthread=self._threads, persistent=True
        )
        domain, task = self._source
        self._port = PORTS[domain](batch, task)
        self._ctrl, self._sub_steps = batch.bind("ctrl"), env._n_sub_steps
        self._quiet = batch.warning.tobytes()
        return batch

    def _load(self, rows: Iterable[int]) -> None:
        """Put into the batch where the environments of some rows are."""
        batch = self._open() if self._batch is None else self._batch
        for row in rows:
            batch.state[row] = self._tasks[row].env.physics.get_state(SIGNATURE)
            self._decisions[row] = self._tasks[row].decisions or 0
            self._behind[row] = False
        if self._own_models:
            batch.set_models([task.env.physics.model.ptr for task in self._tasks])

    def _catch_up(self, row: int) -> None:
        """Put into the environment of one row where the batch is."""
        if self._batch is not None and self._behind[row]:
            self._batch.get_data(row, self._tasks[row].env.physics.data.ptr)
            self._tasks[row].decisions = int(self._decisions[row])
            self._behind[row] = False

    def _restart(self, ended: np.ndarray, state: FloatArray) -> FloatArray:
        """Start the next episode where one ended; the (B, O) observations to act on."""
        state = state.copy()
        if ended.any():
            rows = np.flatnonzero(ended).tolist()
            for row in rows:
                state[row] = self._tasks[row].reset()["state"]
            self._load(rows)
        return state

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

    def _refuse(self, warned: Mapping[int, str], reward: Floats, state: FloatArray) -> NoReturn:
        """Tell what is wrong with the first row of which something is."""
        name = self.task_spec.name
        for row, (value, seen) in enumerate(zip(reward.tolist(), state, strict=True)):
            if row in warned:
                raise ObservationError(f"{name}: the simulation diverged: {warned[row]}")
            if not np.isfinite(value):
                raise ObservationError(f"{name}: expected a finite reward, got {value}")
            self._tasks[row].layout.check(seen)
        raise AssertionError("nothing is wrong")
