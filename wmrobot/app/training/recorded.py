"""Recorded episodes on their way into a replay, and how many rows a run takes."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.errors import DataError
from wmrobot.core.spec import TaskSpec
from wmrobot.data.episodes import read_episodes
from wmrobot.data.replay import Replay


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


def remember(folder: Path, task: TaskSpec, replay: Replay) -> None:
    """Put every episode of a folder into a replay.

    Raises:
        DataError: There is none, or one is malformed, of another task, or of other sizes.
    """
    lengths = (len(episode.action) for _, episode in read_episodes(folder, task))
    places = list(spread(lengths, replay.num_envs))
    longest = max(rows for _, rows in places)
    if longest > replay.num_rows:
        print(
            f"warning: {folder}: its episodes take {longest * replay.num_envs:,} rows, the replay "
            f"has {replay.num_rows * replay.num_envs:,}: the first ones are forgotten; a larger "
            "replay.buffer_size keeps them",
            file=sys.stderr,
        )
    for (ring, _), (path, episode) in zip(places, read_episodes(folder, task), strict=True):
        try:
            replay.add_episode(episode, ring)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def count_rows(cfg: TrainConfig, spec: TaskSpec) -> int:
    """Rows of the replay, over all rings, that hold the whole run, or `buffer_size` of it.

    Every episode takes a row more than it has decisions. One that can terminate may do so in its
    first decision.

    Raises:
        DataError: Recorded episodes are missing or malformed.
    """
    recorded = 0
    if cfg.data is not None:
        lengths = (len(episode.action) for _, episode in read_episodes(Path(cfg.data), spec))
        recorded = max(rows for _, rows in spread(lengths, cfg.num_envs))
    decisions = 0 if cfg.offline else -(-cfg.steps // cfg.num_envs)
    shortest = 1 if spec.episodic else spec.episode_decisions
    collected = decisions + -(-decisions // shortest) + 1
    return min(cfg.replay.buffer_size, cfg.num_envs * (recorded + collected))
