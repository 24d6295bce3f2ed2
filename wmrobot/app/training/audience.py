"""Whom a training run shows itself to: nobody, unless a window is opened."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from wmrobot.app.rollout import Rollout
from wmrobot.envs.vector import VectorEnv


class Audience:
    """Nobody; `window.Watcher` shows the run."""

    def beat(self, doing: str) -> None:
        """The run is alive, and doing this."""

    def during(self, doing: str) -> AbstractContextManager[None]:
        """One long call lasts, in which the run cannot say that it is alive."""
        del doing
        return nullcontext()

    def train(self, decisions: int, row: Mapping[str, float]) -> None:
        """There is another row of train.csv."""

    def evaluation(self, decisions: int, rollout: Rollout) -> None:
        """An evaluation is over."""

    def look(self, env: VectorEnv) -> None:
        """An evaluation has come to its next decision."""
