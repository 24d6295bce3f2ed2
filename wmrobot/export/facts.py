"""What an export starts from: a trained model, and all that is known about its making."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wmrobot.core.spec import TaskSpec
from wmrobot.envs.rows import EnvOptions
from wmrobot.envs.task import Randomization
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import PlannerConfig

Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A trained controller.

    Attributes:
        model: Its world model, on the CPU, not training.
        planner: Planner to export, which may be smaller than the one it was trained with.
        task: Facts of the task.
        options: How the task's environment was built.
        randomization: Differences between robot and simulation that it was trained with.
        made: Versions, commit, seed, decisions of the training.
        exported: Versions, commit and machine of this export.
        weights_sha256: Of the file of weights.
        evaluations: What the run's own evaluations told; empty where it kept none.
    """

    model: WorldModel
    planner: PlannerConfig
    task: TaskSpec
    options: EnvOptions
    randomization: Randomization
    made: Mapping[str, Any]
    exported: Mapping[str, Any]
    weights_sha256: str
    evaluations: tuple[Mapping[str, float], ...] = ()
