"""Stand-ins that tests share: latent models with a known best plan, and tiny learned ones."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from wmrobot.core.random import make_generator
from wmrobot.core.types import PlanNoise
from wmrobot.data.batch import Batch
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import PlannerConfig
from wmrobot.plan.noise import draw_noise

TINY = ModelConfig(
    latent_dim=16,
    mlp_dim=16,
    enc_dim=16,
    num_channels=4,
    frame_stack=2,
    simnorm_dim=4,
    num_q=3,
    num_bins=21,
    dropout=0.1,
)
STATE = {"state": (5,)}
NUM_Q = 5
"""Value heads of models that are not learned."""


class PointMass:
    """The latent moves by the action; the nearer to zero the better. Best first action: -z."""

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["state"]

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = z + action
        reward = -z.square().sum(dim=-1)
        return z, reward, torch.full_like(reward, 0.9)

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        return -z.square().sum(dim=-1)

    def propose(self, z: Tensor, eps: Tensor) -> Tensor:
        return (0.3 * eps).tanh()


class TerminalValue(PointMass):
    """No reward at all: only the value at the end tells that the goal is (0.9, -0.6)."""

    goal = (0.9, -0.6)

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, reward, continuation = super().step(z, action)
        return z, torch.zeros_like(reward), continuation

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        return -(z - z.new_tensor(self.goal)).square().sum(dim=-1)


class Cliff(PointMass):
    """A first action above zero ends the episode; what would be earned dead is large and false.

    Alive, an action below zero earns 0.3 and one above zero 0.5, the last. So the best three
    actions are below, below, above, worth 0.3 + 0.3 + 0.5.
    """

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        jump = action[..., :1] > 0
        reward = torch.where(jump, 0.5, 0.3).where(z == 0, 10.0)
        z = torch.where(jump, 1.0, z)
        return z, reward.squeeze(-1), (z == 0).to(z.dtype).squeeze(-1)

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        return 10 * z.squeeze(-1)


class Everything(PointMass):
    """Uses all that a planner passes: heads, terminal noise, a continuation that depends on z.

    That is never 0: where it is, the actions after it make no difference, and returns tie.
    """

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = 0.9 * z + 0.5 * action
        reward = (0.3 * action - z.square()).sum(dim=-1)
        return z, reward, torch.where(z[..., 0] > 0.6, z.new_tensor(0.3), z.new_tensor(0.95))

    def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
        heads = torch.arange(NUM_Q) if heads is None else heads
        each = heads.to(z.dtype).unsqueeze(-1).unsqueeze(-1) + 1  # (K, 1, 1)
        return (each * (z * action).sum(dim=-1)).mean(dim=0)

    def propose(self, z: Tensor, eps: Tensor) -> Tensor:
        return (0.3 * eps - 0.5 * z).tanh()


class Broken(PointMass):
    """Predicts NaN for first coordinates above 0.5 and infinity for those below -0.5."""

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, reward, continuation = super().step(z, action)
        reward = reward.where(action[..., 0] <= 0.5, float("nan"))
        return z, reward.where(action[..., 0] >= -0.5, float("inf")), continuation


class Lost(PointMass):
    """Predicts nothing but NaN."""

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, reward, continuation = super().step(z, action)
        return z, reward * float("nan"), continuation


def noise_for(
    cfg: PlannerConfig, batch: int, action_dim: int, *, num_q: int = NUM_Q, seed: int = 0
) -> PlanNoise:
    return draw_noise(
        cfg,
        batch=batch,
        action_dim=action_dim,
        num_q=num_q,
        generator=make_generator(seed, "test"),
    )


def tiny_model(
    *,
    cfg: ModelConfig = TINY,
    obs_shapes: Mapping[str, tuple[int, ...]] | None = None,
    action_dim: int = 2,
    episodic: bool = False,
    trained: bool = False,
) -> WorldModel:
    """A learned model of a few thousand weights, the same at every call.

    Args:
        cfg: Sizes.
        obs_shapes: `STATE` by default.
        action_dim: A.
        episodic: With a termination head.
        trained: Larger weights, none of them zero, as training leaves them.
    """
    generator = make_generator(0, "weights")
    model = WorldModel(
        cfg,
        obs_shapes=obs_shapes or STATE,
        action_dim=action_dim,
        discount=0.9,
        episodic=episodic,
    )
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            drawn = torch.randn(parameter.shape, generator=generator)
            if trained:
                parameter.copy_(0.3 * drawn + ("norm" in name and "weight" in name))
            elif name.endswith("weight") and parameter.any() and "norm" not in name:
                parameter.copy_(0.02 * drawn)
            elif "conv" in name:
                parameter.zero_()  # torch draws the bias of a convolution
    return model


def random_batch(
    horizon: int = 3,
    size: int = 4,
    *,
    obs_shapes: Mapping[str, tuple[int, ...]] | None = None,
    action_dim: int = 2,
    frame_stack: int = 1,
    seed: int = 0,
) -> Batch:
    """A batch as the replay gives it, everything in it lived."""
    draw = np.random.default_rng(seed)
    obs: dict[str, Tensor] = {}
    for name, shape in (obs_shapes or STATE).items():
        lead = (horizon + 1, size)
        if len(shape) == 1:
            obs[name] = torch.from_numpy(draw.normal(size=(*lead, *shape)).astype(np.float32))
        else:
            stacked = (*lead, shape[0] * frame_stack, *shape[1:])
            obs[name] = torch.from_numpy(draw.integers(256, size=stacked, dtype=np.uint8))
    action = draw.uniform(-1, 1, (horizon, size, action_dim)).astype(np.float32)
    reward = draw.uniform(0, 1, (horizon, size)).astype(np.float32)
    return Batch(
        obs=obs,
        action=torch.from_numpy(action),
        reward=torch.from_numpy(reward),
        terminated=torch.zeros(horizon, size),
        mask=torch.ones(horizon, size),
    )
