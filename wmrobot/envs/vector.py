"""All that the rest of the house knows of simulation: B environments, one row each a step."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np

from wmrobot.core.errors import ConfigError, ObservationError, WmrobotError
from wmrobot.core.spec import FloatArray, Obs, Step, TaskSpec
from wmrobot.envs.batched.ported import is_ported
from wmrobot.envs.registry import canonical_name
from wmrobot.envs.render import choose_backend
from wmrobot.envs.rows import EnvOptions, Rows, concatenate
from wmrobot.envs.task import Randomization
from wmrobot.envs.worker import Worker

if TYPE_CHECKING:
    from wmrobot.envs.bare_physics import BarePhysics

BATCHED_FROM = 2
"""Rows from which it pays to step them as a batch."""


class VectorEnv:
    """B environments of one task, here or spread over processes; the results are the same.

    Row `i` has a seed of its own that depends on `seed` and `i` alone. Where an episode ends, the
    next one starts in the same step: `Step.obs` is its first observation, `Step.final_obs` what the
    action led to.

    Args:
        name: Any accepted spelling of a task's name.
        num_envs: B.
        seed: All randomness of all rows follows from it.
        workers: Processes; 0 steps here. A script that starts some must be guarded by
            `if __name__ == "__main__":`. Where rows are stepped as a batch, threads instead.
        batched: Whether to step all rows by one call of MuJoCo; None does where it pays: for tasks
            of the suite that are ported, as they are, and at least 2 rows; but pictures are drawn
            by processes where there are some, as one process draws on one core.
        **options: See `make_env`.

    Raises:
        ConfigError: There are no rows, or `batched` is demanded where it is not possible.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        *,
        seed: int,
        workers: int = 0,
        batched: bool | None = None,
        **options: Unpack[EnvOptions],
    ) -> None:
        if num_envs < 1 or workers < 0:
            raise ConfigError(
                f"expected num_envs >= 1 and workers >= 0, got {num_envs} and {workers}"
            )
        name = canonical_name(name)
        self._num_envs = num_envs
        self._obs: Obs | None = None
        self._sent: FloatArray | None = None  # what is under way
        self._workers: list[Worker] = []
        if batched is None:
            alone = bool(workers) and options.get("obs", "state") != "state"
            batched = num_envs >= BATCHED_FROM and not alone and _can_be_batched(name, options)
        self._parts = _split(num_envs, 1 if batched else workers or 1)
        self._here: Rows | None = None
        if batched:
            self._here = _batched_rows(name, num_envs, seed, workers, options)
        elif not workers:
            self._here = Rows(name, range(num_envs), seed, **options)
        if self._here is not None:
            self._adopt(self._here.task_spec)
            return
        try:
            for part in self._parts:
                self._workers.append(Worker(name, range(part.start, part.stop), seed, options))
            self._adopt(self._answers()[0])
        except BaseException:
            self.close()
            raise

    def _adopt(self, spec: TaskSpec) -> None:
        self._spec, self._action_shape = spec, (self._num_envs, spec.action_dim)

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts of the task."""
        return self._spec

    @property
    def num_envs(self) -> int:
        """B."""
        return self._num_envs

    def reset(self) -> Obs:
        """Start an episode in every row: (B, ...) observations."""
        return self._keep(concatenate(self._ask("reset", [()] * len(self._parts))))

    def step(self, actions: FloatArray) -> Step:
        """One decision of every row.

        Args:
            actions: (B, A) in [-1, 1]; what lies outside is clipped.

        Raises:
            ObservationError: The actions have another shape or are not finite, or an environment
                observes what it may not.
        """
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: FloatArray) -> None:
        """Send actions (B, A) off; processes step while the caller goes on, rows here wait.

        Nothing else may be asked before `step_wait`.

        Raises:
            ObservationError: The actions have another shape or are not finite.
        """
        assert self._sent is None, "step_async before step_wait of the last one"
        self._sent = self._check(actions)
        for worker, part in zip(self._workers, self._parts, strict=False):  # none, or one a part
            worker.send("step", self._sent[part])

    def step_wait(self) -> Step:
        """What came of the actions that were sent.

        Raises:
            ObservationError: An environment observes what it may not.
        """
        actions, self._sent = self._sent, None
        assert actions is not None, "step_wait before step_async"
        if self._here is not None:
            step = self._here.step(actions)
            self._keep(step.obs)
            return step
        steps: list[Step] = self._answers()
        self._keep(obs := concatenate([each.obs for each in steps]))
        return Step(
            obs=obs,
            reward=np.concatenate([each.reward for each in steps]),
            terminated=np.concatenate([each.terminated for each in steps]),
            truncated=np.concatenate([each.truncated for each in steps]),
            final_obs=concatenate([each.final_obs for each in steps]),
            success=np.concatenate([each.success for each in steps]),
            success_told=np.concatenate([each.success_told for each in steps]),
        )

    def snapshot(self) -> dict[str, Any]:
        """State of every row, and what was observed last, as a tree of arrays and JSON."""
        rows: dict[str, Any] = {}
        for part in self._ask("snapshot", [()] * len(self._parts)):
            rows.update(part)
        return {"rows": rows, "obs": self._obs}

    def restore(self, snapshot: Mapping[str, Any]) -> Obs:
        """Go back to a snapshot of this task, seed and B, taken with any number of workers.

        Returns:
            (B, ...) what to act on. A row that could not tell its state starts an episode anew.
        """
        rows, obs = snapshot["rows"], snapshot["obs"]
        if len(rows) != self._num_envs:
            raise ConfigError(f"expected a snapshot of {self._num_envs} rows, got {len(rows)}")
        if obs is None:  # taken before the first reset
            return self.reset()
        arguments = [
            (
                {str(i): rows[str(i)] for i in range(part.start, part.stop)},
                {name: value[part] for name, value in obs.items()},
            )
            for part in self._parts
        ]
        return self._keep(concatenate(self._ask("restore", arguments)))

    def frame(
        self, row: int = 0, height: int = 240, width: int = 320, camera: int | str = 0
    ) -> np.ndarray:
        """One picture for people of one row, (height, width, 3) uint8."""
        if self._here is not None:
            return self._here.frame(row, height, width, camera)
        part = next(i for i, part in enumerate(self._parts) if part.start <= row < part.stop)
        self._workers[part].send("frame", row - self._parts[part].start, height, width, camera)
        picture = self._workers[part].receive()
        if isinstance(picture, WmrobotError):
            raise picture
        return np.asarray(picture)

    def physics(self, row: int = 0) -> Any | None:
        """The dm_control physics of one row stepped in this process; None where there is none."""
        return None if self._here is None else self._here.physics(row)

    def bare_physics(self) -> "BarePhysics | None":
        """The physics alone, to be timed beside it; None where rows are not a batch."""
        return None if self._here is None else self._here.bare_physics()

    def close(self) -> None:
        """Free every environment and end every process."""
        if self._here is not None:
            self._here.close()
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call one method of every part, each with its own arguments, at the same time."""
        if self._here is not None:
            return [getattr(self._here, method)(*arguments[0])]
        for worker, each in zip(self._workers, arguments, strict=True):
            worker.send(method, *each)
        return self._answers()

    def _answers(self) -> list[Any]:
        """One answer of every worker, all fetched before an error is raised, so none is left."""
        answers = [worker.receive() for worker in self._workers]
        for answer in answers:
            if isinstance(answer, WmrobotError):
                raise answer
        return answers

    def _check(self, actions: FloatArray) -> FloatArray:
        expected = self._action_shape
        given = np.asarray(actions)
        if given.shape != expected or given.dtype.kind != "f":
            raise ObservationError(
                f"actions: expected {expected} float32, got {given.shape} {given.dtype}"
            )
        flat = given.ravel()
        # squares that add up are finite: 0.5 us less than to ask each; actions are few and small
        if not math.isfinite(flat.dot(flat)) and not np.isfinite(given).all():
            row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
            raise ObservationError(
                f"actions: expected finite values, got {given[row]} in row {row}"
            )
        return given.astype(np.float32, copy=False)

    def _keep(self, obs: Obs) -> Obs:
        """Remember a copy of what was observed last: a snapshot cannot observe without a step."""
        self._obs = {name: value.copy() for name, value in obs.items()}
        return obs


def _split(num_rows: int, num_parts: int) -> list[slice]:
    """Near-equal runs of rows; no part is empty."""
    bounds = np.linspace(0, num_rows, min(num_parts, num_rows) + 1).astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(bounds)]


def _can_be_batched(name: str, options: EnvOptions) -> bool:
    """Whether the batched engine gives what `Rows` would."""
    as_declared = options.get("randomization") in (None, Randomization())
    return is_ported(name) and as_declared


def _batched_rows(name: str, num_envs: int, seed: int, threads: int, options: EnvOptions) -> Rows:
    if not _can_be_batched(name, options):
        raise ConfigError(
            f"batched=True: expected a ported task of the suite and no randomization, "
            f"got {name} with {options}"
        )
    choose_backend()  # before MuJoCo is imported
    from wmrobot.envs.batched.engine import BatchedRows

    return BatchedRows(name, range(num_envs), seed, threads=max(threads, 1), **options)
