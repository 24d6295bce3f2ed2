"""Recorded episodes on their way into a replay, and how many rows a run takes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from wmrobot.app.settings import TrainConfig
from wmrobot.core.spec import TaskSpec
from wmrobot.data.episodes import Episode, read_episodes


def spread(lengths: Iterable[int], num_envs: int) -> Iterator[tuple[int, int]]:
    """Deal episodes out to the environments' rings, each to the emptiest.

    Args:
        lengths: Decisions of each episode, in order.
        num_envs: B.

    Yields:
        Ring that the episode goes to, and rows in that ring after it.
    """
    rows = np.zeros(num_envs, dtype=np.int64)
    for length in lengths:
        ring = int(rows.argmin())
        rows[ring] += length + 1
        yield ring, int(rows[ring])


def deal(folder: Path, task: str, num_envs: int) -> Iterator[tuple[int, Episode]]:
    """Every episode of a folder with the ring that it goes to.

    Raises:
        DataError: There is none, or one is malformed or of another task.
    """
    rings = spread((len(episode.action) for episode in read_episodes(folder, task)), num_envs)
    for (ring, _), episode in zip(rings, read_episodes(folder, task), strict=True):
        yield ring, episode


def count_rows(cfg: TrainConfig, spec: TaskSpec) -> int:
    """Rows of the replay, over all rings, that hold the whole run, or `buffer_size` of it.

    Every episode takes a row more than it has decisions. One that can terminate may do so in its
    first decision.

    Raises:
        DataError: Recorded episodes are missing or malformed.
    """
    recorded = 0
    if cfg.data is not None:
        lengths = (len(episode.action) for episode in read_episodes(Path(cfg.data), spec.name))
        recorded = max(rows for _, rows in spread(lengths, cfg.num_envs))
    decisions = 0 if cfg.offline else -(-cfg.steps // cfg.num_envs)
    shortest = 1 if spec.episodic else spec.episode_decisions
    collected = decisions + -(-decisions // shortest) + 1
    return min(cfg.replay.buffer_size, cfg.num_envs * (recorded + collected))
