"""Agents to compare the planner with: each tells what one part of it is worth."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wmrobot.control.controller import Controller, check_obs, to_tensors
from wmrobot.control.frames import FrameStack
from wmrobot.core.spec import Array, BoolArray, FloatArray, Obs
from wmrobot.model.world_model import WorldModel

AgentKind = Literal["trained", "prior", "zero", "random", "shuffled"]
_GOLDEN = 0.382  # 1 - 1 / golden ratio


class PriorAgent:
    """The policy prior alone, at its mean; no planning.

    Args:
        model: Learned model.
        frame_stack: Frames that it sees.
        obs_shapes: Shape of one observation by modality.
        device: Of the model.
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        frame_stack: int,
        obs_shapes: dict[str, tuple[int, ...]],
        device: torch.device,
    ) -> None:
        self.model, self.device, self.obs_shapes = model, device, obs_shapes
        self._frames = FrameStack(frame_stack)

    def reset(self, rows: Array | None = None) -> None:
        """See `Agent`."""
        self._frames.reset(rows)

    @torch.inference_mode()
    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """See `Agent`; `explore` makes no difference."""
        check_obs(obs, self.obs_shapes)
        z = self.model.encode(to_tensors(self._frames.push(obs), self.device))
        eps = z.new_zeros(len(z), self.model.action_dim)
        result: FloatArray = self.model.propose(z, eps).cpu().numpy()
        return result


class ZeroAgent:
    """Does nothing: the middle of every actuator's range."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim = action_dim

    def reset(self, rows: Array | None = None) -> None:
        """See `Agent`."""

    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """See `Agent`."""
        return np.zeros((len(next(iter(obs.values()))), self.action_dim), dtype=np.float32)


class RandomAgent:
    """Uniform actions."""

    def __init__(self, action_dim: int, generator: np.random.Generator) -> None:
        self.action_dim, self.generator = action_dim, generator

    def reset(self, rows: Array | None = None) -> None:
        """See `Agent`."""

    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """See `Agent`."""
        batch = len(next(iter(obs.values())))
        return self.generator.uniform(-1, 1, (batch, self.action_dim)).astype(np.float32)


class ShuffledDynamics:
    """A model whose predicted latents go to the wrong candidates: what is its dynamics worth?

    Everything else (encoder, reward, value, prior) stays as learned. Each robot's candidates
    exchange their next latents by one fixed rotation, at every imagined decision. The rotation is
    by the golden ratio of their number: its multiples stay away from the identity, so that no
    candidate meets the consequences of its own actions again a few decisions later.

    Args:
        model: Learned model.
    """

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self.encode, self.value, self.propose = model.encode, model.value, model.propose

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `LatentModel.step`, for z (B, N, Z)."""
        next_z, reward, continuation = self._model.step(z, action)
        by = max(round(_GOLDEN * next_z.shape[1]), 1)
        return next_z.roll(by, dims=1), reward, continuation.roll(by, dims=1)


def make_agent(
    kind: AgentKind, controller: Controller, generator: np.random.Generator
) -> "Controller | PriorAgent | ZeroAgent | RandomAgent":
    """An agent of that kind from a trained controller.

    Args:
        kind: `trained` (the planner), `prior` (policy prior alone), `zero`, `random`, or
            `shuffled` (the planner with its learned dynamics shuffled).
        controller: Trained controller.
        generator: Random stream for `random`.
    """
    model = controller.model
    assert isinstance(model, WorldModel)
    match kind:
        case "trained":
            return controller
        case "shuffled":
            return Controller(
                ShuffledDynamics(model),
                controller.cfg,
                obs_shapes=controller.obs_shapes,
                action_dim=controller.action_dim,
                num_q=model.cfg.num_q,
                frame_stack=model.cfg.frame_stack,
                generator=controller.generator,
            )
        case "prior":
            return PriorAgent(
                model,
                frame_stack=model.cfg.frame_stack,
                obs_shapes=controller.obs_shapes,
                device=controller.generator.device,
            )
        case "zero":
            return ZeroAgent(controller.action_dim)
        case "random":
            return RandomAgent(controller.action_dim, generator)
