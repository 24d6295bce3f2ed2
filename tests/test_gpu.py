"""What must hold on a GPU; the same tests run on the CPU, so that they are known to be right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wmrobot.app.device import pick_device
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_generator
from wmrobot.core.types import Plan, PlanNoise
from wmrobot.data.batch import Batch
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel
from wmrobot.nn.activations import simnorm
from wmrobot.plan.config import MppiConfig
from wmrobot.plan.noise import draw_noise, empty_plan
from wmrobot.plan.planner import make_planner

MODEL = ModelConfig(latent_dim=64, mlp_dim=64, enc_dim=32, num_q=3, num_bins=21, dropout=0.0)
PLANNER = MppiConfig(num_samples=64, num_elites=8, num_prior=4)
OBS_DIM, ACTION_DIM, ROBOTS = 5, 2, 3
CPU = torch.device("cpu")
each_device = pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)], ids=str
)


@pytest.fixture(autouse=True)
def exactly() -> None:
    """As every verb begins: fp32 is fp32 from then on."""
    pick_device("auto")


def make_model(device: torch.device, cfg: ModelConfig = MODEL) -> WorldModel:
    """The same weights on every device, none of them zero."""
    torch.manual_seed(0)
    model = WorldModel(
        cfg,
        obs_shapes={"state": (OBS_DIM,)},
        action_dim=ACTION_DIM,
        discount=0.99,
        episodic=False,
    )
    for head in (model.reward_head, model.values.head):
        torch.nn.init.normal_(head.weight, std=0.1)
    return model.to(device)


def draw_plan_inputs() -> tuple[torch.Tensor, Plan, PlanNoise]:
    """Latents, an empty plan and noise, on the CPU: generators of devices differ."""
    generator = make_generator(3, "test")
    z = simnorm(torch.randn(ROBOTS, MODEL.latent_dim, generator=generator), MODEL.simnorm_dim)
    noise = draw_noise(
        PLANNER, batch=ROBOTS, action_dim=ACTION_DIM, num_q=MODEL.num_q, generator=generator
    )
    return z, empty_plan(PLANNER, batch=ROBOTS, action_dim=ACTION_DIM, device=CPU), noise


def plan_on(device: torch.device, *, compiled: bool = False) -> torch.Tensor:
    """Mean of the plan of the same noise."""
    z, start, noise = draw_plan_inputs()
    planner = make_planner(PLANNER)
    if compiled:
        planner = torch.compile(planner, fullgraph=True, dynamic=False)
    start, noise = (type(x)(*(part.to(device) for part in x)) for x in (start, noise))
    with torch.no_grad():
        return planner(make_model(device), z.to(device), start, noise).mean.cpu()


@each_device
def test_a_plan_is_that_of_the_cpu(device: torch.device) -> None:
    torch.testing.assert_close(plan_on(device), plan_on(CPU), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch warns of itself
@each_device
def test_a_compiled_plan_is_that_of_the_cpu(device: torch.device) -> None:
    torch.testing.assert_close(plan_on(device, compiled=True), plan_on(CPU), atol=1e-4, rtol=0)


@each_device
def test_pictures_are_seen_as_on_the_cpu(device: torch.device) -> None:
    """With convolutions in TF32 they would not be."""
    torch.manual_seed(0)
    model = WorldModel(
        MODEL, obs_shapes={"rgb": (3, 64, 64)}, action_dim=ACTION_DIM, discount=1, episodic=False
    )
    pictures = torch.randint(256, (ROBOTS, 9, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        known = model.encode({"rgb": pictures})
        seen = model.to(device).encode({"rgb": pictures.to(device)})
    torch.testing.assert_close(seen.cpu(), known, atol=2e-5, rtol=0)


@each_device
def test_an_update_is_that_of_the_cpu(device: torch.device) -> None:
    generator = make_generator(4, "test")
    horizon, size = PLANNER.horizon, 8
    batch = Batch(
        obs={"state": torch.randn(horizon + 1, size, OBS_DIM, generator=generator)},
        action=torch.rand(horizon, size, ACTION_DIM, generator=generator) * 2 - 1,
        reward=torch.rand(horizon, size, generator=generator),
        terminated=torch.zeros(horizon, size),
        mask=torch.ones(horizon, size),
    )
    losses = []
    for place in (CPU, device):
        learner = Learner(make_model(place), LearnerConfig(), make_generator(0, "learner", place))
        metrics = learner.update(batch.to(place))
        losses.append({name: float(metrics[name]) for name in ("consistency_loss", "reward_loss")})
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@each_device
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_controller_acts(device: torch.device, precision: str) -> None:
    cfg = replace(MODEL, precision=precision)
    controller = Controller(
        make_model(device, cfg),
        PLANNER,
        obs_shapes={"state": (OBS_DIM,)},
        action_dim=ACTION_DIM,
        num_q=MODEL.num_q,
        frame_stack=1,
        generator=make_generator(0, "planner", device),
    )
    for _ in range(3):
        action = controller.act({"state": np.ones((ROBOTS, OBS_DIM), np.float32)})
        assert action.shape == (ROBOTS, ACTION_DIM)
        assert np.isfinite(action).all()
        assert (np.abs(action) <= 1 + 1e-6).all()
