"""Where a run's figures go: CSV tables, TensorBoard, and Weights & Biases if asked for."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from wmrobot.app.rollout import Rollout
from wmrobot.app.tables import Table
from wmrobot.core.errors import CheckpointError, MissingExtraError
from wmrobot.core.files import read_json, write_json

WANDB_FILE = "wandb.json"
EVAL_COLUMNS = ("step", "episode_reward")  # TD-MPC2's
TRAIN_COLUMNS = (
    "decisions",
    "step",
    "episode_reward",
    "total_loss",
    "consistency_loss",
    "reward_loss",
    "value_loss",
    "termination_loss",
    "state_loss",
    "prior_loss",
    "prior_entropy",
    "value_mean",
    "value_scale",
    "grad_norm",
    "prior_grad_norm",
)


class Logs:
    """All logs of one run.

    Args:
        run: Folder of the run.
        wandb_project: Project on Weights & Biases; None logs nothing there.
        settings: The run's, to be told there as well.

    Raises:
        MissingExtraError: Weights & Biases is asked for and not installed.
        CheckpointError: The folder's file with the id of its run there is malformed.
    """

    def __init__(
        self,
        run: Path,
        wandb_project: str | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._eval = Table(run / "eval.csv", EVAL_COLUMNS)
        self._train = Table(run / "train.csv", TRAIN_COLUMNS)
        self._folder = run / "tensorboard"
        self._board: SummaryWriter | None = None
        self._purge: int | None = None
        self._wandb: Any = None
        if wandb_project is not None:
            self._wandb = _start_wandb(run, wandb_project, settings)

    def train(self, decisions: int, step: int, values: Mapping[str, float]) -> None:
        """Log one row of training figures; `step` counts environment steps with action repeat."""
        told = {name: value for name, value in values.items() if not math.isnan(value)}
        self._train.add({"decisions": decisions, "step": step, **told})
        self._scalars("train", step, told)

    def evaluation(self, decisions: int, step: int, rollout: Rollout) -> None:
        """Log one evaluation."""
        self._eval.add({"step": step, "episode_reward": rollout.mean_reward})
        figures = {
            "episode_reward": rollout.mean_reward,
            "termination_rate": rollout.termination_rate,
            "act_ms_p50": float(np.median(rollout.act_ms)),
            "decisions": float(decisions),
        }
        if rollout.success_rate is not None:
            figures["success_rate"] = rollout.success_rate
        self._scalars("eval", step, figures)

    def diagnostics(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures that stand in no table."""
        told = {name: value for name, value in figures.items() if not math.isnan(value)}
        self._scalars("diagnostics", step, told)

    def sizes(self) -> dict[str, int]:
        """Lengths of the tables, for a checkpoint."""
        return {"eval": self._eval.size, "train": self._train.size}

    def cut(self, sizes: Mapping[str, int], purge_step: int) -> None:
        """Forget what was written after a checkpoint.

        Args:
            sizes: What `sizes` told then.
            purge_step: TensorBoard forgets points from this environment step on.

        Raises:
            CheckpointError: A table has lost rows that it had then.
        """
        self._eval.cut(sizes["eval"])
        self._train.cut(sizes["train"])
        self._purge = purge_step

    def clear(self) -> None:
        """Forget everything, at the start of a run that begins once more."""
        self.cut({"eval": 0, "train": 0}, purge_step=0)

    def _scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if self._board is None:
            self._board = SummaryWriter(str(self._folder), purge_step=self._purge)
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)
        self._board.flush()
        if self._wandb is not None:
            self._wandb.log({f"{group}/{n}": v for n, v in values.items()} | {"step": step})

    def close(self) -> None:
        """Write what is buffered."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _start_wandb(run: Path, project: str, settings: Mapping[str, Any]) -> Any:
    """Begin a run on Weights & Biases, or go on with the one that this folder began."""
    try:
        import wandb
    except ModuleNotFoundError:
        raise MissingExtraError(
            'wandb is not installed; install it with: pip install ".[wandb]" in its checkout'
        ) from None
    file = run / WANDB_FILE
    if not file.exists():
        write_json(file, {"id": uuid4().hex})
    stored = read_json(file)
    if not isinstance(stored, dict) or not isinstance(stored.get("id"), str):
        raise CheckpointError(
            f"{file}: expected an object with the id of a run on Weights & Biases, got something "
            "else; delete it to begin a new one there"
        )
    return wandb.init(
        project=project,
        dir=str(run),
        name=run.name,
        id=stored["id"],
        resume="allow",
        config=dict(settings),
    )
