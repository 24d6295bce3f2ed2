"""Several environments stepped one after another: the rows of a `VectorEnv`, or a part of them."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from wmrobot.core.errors import ObservationError
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Array, FloatArray, Obs, ObsMode, Step, TaskSpec
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import Randomization, RenderMode, TaskEnv

if TYPE_CHECKING:
    from wmrobot.envs.bare_physics import BarePhysics

_log = logging.getLogger(__name__)
Snapshot = dict[str, Any]


class EnvOptions(TypedDict, total=False):
    """What `make_env` takes beside a name and a seed."""

    obs: ObsMode
    cameras: Sequence[int | str] | None
    render: RenderMode
    image_size: int
    randomization: Randomization | None


class Rows:
    """Environments of one task, each with its own seed, restarted in the step that ends an episode.

    Args:
        name: Any accepted spelling of a task's name.
        indices: Index of each row in the whole batch; its seed depends on nothing else.
        seed: Seed of the batch.
        **options: See `make_env`.
    """

    def __init__(
        self, name: str, indices: Sequence[int], seed: int, **options: Unpack[EnvOptions]
    ) -> None:
        self._indices, self._seed = tuple(indices), seed
        self._envs: list[TaskEnv] = []
        try:
            for index in self._indices:
                row_seed = derive_seed(seed, f"env/{index}")
                self._envs.append(make_env(name, seed=row_seed, **options))
        except BaseException:
            self.close()  # those that were built before one failed
            raise

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts, the same for every row."""
        return self._envs[0].task_spec

    def reset(self) -> Obs:
        """Start an episode in every row."""
        return stack([env.reset() for env in self._envs])

    def step(self, actions: FloatArray) -> Step:
        """One decision of every row, for (B, A) actions."""
        outcomes = [env.step(action) for env, action in zip(self._envs, actions, strict=True)]
        final_obs, rewards, terminated, truncated, infos = zip(*outcomes, strict=True)
        obs = [
            env.reset() if over or cut else last
            for env, last, over, cut in zip(
                self._envs, final_obs, terminated, truncated, strict=True
            )
        ]
        return Step(
            obs=stack(obs),
            reward=np.array(rewards, dtype=np.float32),
            terminated=np.array(terminated, dtype=np.bool_),
            truncated=np.array(truncated, dtype=np.bool_),
            final_obs=stack(final_obs),
            success=np.array([bool(info.get("success")) for info in infos], dtype=np.bool_),
            success_told=np.array(["success" in info for info in infos], dtype=np.bool_),
        )

    def snapshot(self) -> dict[str, Snapshot | None]:
        """State of each row by its index; None where it cannot be told."""
        return {
            str(index): env.snapshot() for index, env in zip(self._indices, self._envs, strict=True)
        }

    def restore(self, saved: Mapping[str, Snapshot | None], obs: Obs) -> Obs:
        """Go back; a row without a snapshot restarts its episode, and says so.

        Args:
            saved: What `snapshot` told.
            obs: (B, ...) what was observed then.

        Returns:
            (B, ...) what to act on: `obs`, but for the restarted rows.
        """
        rows = []
        for row, (index, env) in enumerate(zip(self._indices, self._envs, strict=True)):
            state, seen = saved[str(index)], {name: value[row] for name, value in obs.items()}
            if state is None:
                _log.warning(
                    "%s: environment %d cannot tell its state: its episode starts anew",
                    env.task_spec.name,
                    index,
                )
                rows.append(env.reset(self._seed_after(index, seen)))
            else:
                env.restore(state)
                rows.append(seen)
        return stack(rows)

    def _seed_after(self, index: int, seen: Obs) -> int:
        """A seed to go on with from what was seen: the first would bring the same starts again."""
        digest = hashlib.sha256(b"".join(seen[name].tobytes() for name in sorted(seen)))
        return derive_seed(self._seed, f"env/{index} after {digest.hexdigest()}")

    def physics(self, row: int) -> Any | None:
        """The dm_control physics of one row, None where there is none."""
        return self._envs[row].physics

    def bare_physics(self) -> "BarePhysics | None":
        """The physics alone, to be timed beside it; None where rows are not a batch."""
        return None

    def frame(self, row: int, height: int, width: int, camera: int | str) -> np.ndarray:
        """One picture for people of one row, (height, width, 3) uint8."""
        return self._envs[row].frame(height, width, camera)

    def close(self) -> None:
        """Free every row."""
        for env in self._envs:
            env.close()
        self._envs.clear()


def stack(rows: Sequence[Obs]) -> Obs:
    """One observation per row into one with a batch axis.

    Raises:
        ObservationError: Rows observe different numbers.
    """
    return _join(np.stack, rows)


def concatenate(parts: Sequence[Obs]) -> Obs:
    """Batches of rows into one batch.

    Raises:
        ObservationError: Parts observe different numbers.
    """
    return _join(np.concatenate, parts)


def _join(join: Callable[[list[Array]], Array], parts: Sequence[Obs]) -> Obs:
    try:
        return {name: join([part[name] for part in parts]) for name in parts[0]}
    except ValueError:
        sizes = sorted({f"{name} {value.shape}" for part in parts for name, value in part.items()})
        raise ObservationError(
            f"expected the same observations of every environment, got {', '.join(sizes)}; the "
            "task has to observe as many numbers for every seed"
        ) from None
