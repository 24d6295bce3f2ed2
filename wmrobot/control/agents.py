"""Agents to compare the planner with: each tells what one part of it is worth."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wmrobot.control.controller import Controller, check_obs, to_tensors
from wmrobot.core.spec import Array, BoolArray, FloatArray, Obs
from wmrobot.core.types import LatentModel
from wmrobot.model.world_model import WorldModel
from wmrobot.runtime.planning.frames import FrameStack

AgentKind = Literal["trained", "prior", "zero", "random", "shuffled"]
_GOLDEN = 0.382  # 1 - 1 / golden ratio: its multiples spread evenly over a circle
_SCATTER = 1e3  # actions that differ by a hundredth end five whole ranges apart


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
    """A model in which candidates meet the consequences of other actions.

    It tells what the learned dynamics are worth. Everything else (encoder, reward, value, prior)
    stays as learned. Which other action it is depends on the candidate's number and on its own
    action so strongly that it tells nothing of it: candidates that are alike, as the prior's
    proposals are, go different ways too.

    Args:
        model: Learned model.
    """

    def __init__(self, model: LatentModel) -> None:
        self._model = model
        self.encode, self.value, self.propose = model.encode, model.value, model.propose

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `LatentModel.step`, for actions (B, N, A)."""
        _, reward, _ = self._model.step(z, action)
        next_z, _, continuation = self._model.step(z, other_action(action))
        return next_z, reward, continuation


def other_action(action: Tensor) -> Tensor:
    """Actions (B, N, A) spread evenly over [-1, 1], the same ones for the same actions."""
    number = torch.arange(action.shape[1], device=action.device, dtype=action.dtype).unsqueeze(-1)
    return (_SCATTER * action + 2 * _GOLDEN * number + 1).remainder(2) - 1


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
