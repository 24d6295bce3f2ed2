"""The smallest world model that still has every part, and controllers made of it."""

from pathlib import Path

import torch

from wmrobot.app.controllers import KIND, SCHEMA, Card, make_model, save_controller
from wmrobot.core.files import seal
from wmrobot.core.spec import ObsMode
from wmrobot.envs.registry import make_env, task_info
from wmrobot.model.config import ModelConfig
from wmrobot.plan.config import MppiConfig

MODEL = ModelConfig(
    latent_dim=16, mlp_dim=16, enc_dim=16, num_channels=4, num_q=2, num_bins=11, dropout=0.0
)
PLANNER = MppiConfig(iterations=2, num_samples=16, num_elites=4, num_prior=2)
WORDS = (
    "profile=null", "latent_dim=16", "mlp_dim=16", "enc_dim=16", "num_channels=4", "num_q=2",
    "num_bins=11", "dropout=0", "iterations=2", "num_samples=16", "num_elites=4", "num_pi_trajs=2",
    "batch_size=8", "threads=1", "device=cpu",
)  # fmt: skip
"""The same on the command line."""


def make_card(task: str, obs: ObsMode = "state") -> Card:
    """Card of an untrained controller."""
    env = make_env(task, seed=0, obs=obs)
    spec = env.task_spec
    env.close()
    return Card(
        task=spec,
        obs=obs,
        cameras=None,
        render="near",
        image_size=64,
        randomization=task_info(task).randomization,
        model=MODEL,
        planner=PLANNER,
        discount=0.99,
        made={},
    )


def write_controller(folder: Path, task: str, obs: ObsMode = "state") -> Path:
    """An untrained controller on disk."""
    torch.manual_seed(0)
    card = make_card(task, obs)
    folder.mkdir(parents=True)
    save_controller(folder, make_model(card, torch.device("cpu")), card)
    seal(folder, {"kind": KIND, "schema": SCHEMA})
    return folder
