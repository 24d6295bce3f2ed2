"""From the settings of a run to the parts that it stands on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from wmrobot.app.controllers import Card
from wmrobot.app.training.recorded import count_rows
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import TaskSpec
from wmrobot.data.memory import memory_budget
from wmrobot.data.replay import Replay
from wmrobot.envs.registry import task_info
from wmrobot.envs.vector import VectorEnv
from wmrobot.plan.config import widen


def build_env(cfg: TrainConfig) -> VectorEnv:
    """The environments that the run collects in."""
    return VectorEnv(
        cfg.task,
        cfg.num_envs,
        seed=derive_seed(cfg.seed, "environments"),
        workers=cfg.workers,
        obs=cfg.collected,
        cameras=cfg.cameras,
        render=cfg.render,
        image_size=cfg.image_size,
    )


def build_card(cfg: TrainConfig, spec: TaskSpec, made: Mapping[str, Any]) -> Card:
    """What the controllers of the run are made for.

    Args:
        cfg: Settings.
        spec: Facts of the task, with all that training sees.
        made: Provenance.
    """
    seen = cfg.obs.split("+")
    shapes = {name: shape for name, shape in spec.obs_shapes.items() if name in seen}
    spec = replace(spec, obs_shapes=shapes)
    return Card(
        task=spec,
        obs=cfg.obs,
        cameras=cfg.cameras,
        render=cfg.render,
        image_size=cfg.image_size,
        randomization=task_info(cfg.task).randomization,
        model=cfg.model,
        planner=widen(
            cfg.planner, action_dim=spec.action_dim, extra_iterations=cfg.extra_iterations
        ),
        discount=cfg.learner.discount(spec.episode_decisions),
        made={**made, "seed": cfg.seed, "profile": cfg.profile},
    )


def build_replay(cfg: TrainConfig, spec: TaskSpec, device: torch.device) -> Replay:
    """Room for what the run lives through.

    Raises:
        DataError: It does not fit into memory.
    """
    return Replay(
        obs_shapes=spec.obs_shapes,
        action_dim=spec.action_dim,
        num_envs=cfg.num_envs,
        capacity=count_rows(cfg, spec),
        horizon=cfg.planner.horizon,
        frame_stack=cfg.model.frame_stack if "rgb" in spec.obs_shapes else 1,
        device=device if cfg.replay.storage == "device" else "cpu",
        budget_bytes=memory_budget(cfg.replay, device),
        keep_plans=cfg.learner.prior_from == "plan",
    )
