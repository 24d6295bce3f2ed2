"""Closed loop: observations of B robots in, actions out.

Alone remembers plans, frames and random streams.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from wmrobot.core.errors import ObservationError
from wmrobot.core.spec import Array, BoolArray, FloatArray, Obs
from wmrobot.core.types import Compiler, LatentModel, Plan, PlanNoise, leave_as_is
from wmrobot.data.memory import send
from wmrobot.plan.config import PlannerConfig
from wmrobot.plan.noise import draw_noise, empty_plan
from wmrobot.plan.planner import Planner, make_planner
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.runtime.planning.observations import check_obs as check_as_deployed


class Agent(Protocol):
    """Anything that drives B robots."""

    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """Actions (B, A) in [-1, 1] for observations by modality (B, ...)."""
        ...

    def reset(self, rows: Array | None = None) -> None:
        """Forget the given rows' past (all rows by default), at the start of their episodes."""
        ...


class Controller:
    """A planner inside a learned model, closed-loop, for any number of robots.

    Args:
        model: Learned model; only its four planning methods are used.
        cfg: Planner.
        obs_shapes: Shape of one observation by modality, of one frame for pictures.
        action_dim: A.
        num_q: Value heads of the model.
        frame_stack: Frames that the model sees.
        generator: Random stream, on the model's device.
        compiler: Makes the way from observation to plan faster.
    """

    def __init__(
        self,
        model: LatentModel,
        cfg: PlannerConfig,
        *,
        obs_shapes: Mapping[str, tuple[int, ...]],
        action_dim: int,
        num_q: int,
        frame_stack: int,
        generator: torch.Generator,
        compiler: Compiler = leave_as_is,
    ) -> None:
        self.model, self.cfg, self.generator = model, cfg, generator
        self.obs_shapes, self.action_dim = dict(obs_shapes), action_dim
        self._num_q = num_q
        self._tick = compiler(_make_tick(cfg))
        self._frames = FrameStack(frame_stack)
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """What the last `act` planned; (B, ...) tensors on the model's device."""
        assert self._plan is not None, "plan asked for before the first act"
        return self._plan

    @property
    def last_plan(self) -> Plan | None:
        """The same; None before the first `act`."""
        return self._plan

    def reset(self, rows: Array | None = None) -> None:
        """Start the given rows afresh (all by default; the number of robots may then change)."""
        self._frames.reset(rows)
        if rows is None:
            self._plan = None
        elif self._plan is not None:
            valid = self._plan.valid.clone()
            valid[send(torch.as_tensor(rows), valid.device)] = False
            self._plan = self._plan._replace(valid=valid)

    @torch.no_grad()  # inference_mode marks tensors, and compiled code would be made for each mark
    def act(self, obs: Obs, *, explore: bool | BoolArray = False) -> FloatArray:
        """Plan from observations (B, ...) and choose actions (B, A).

        Args:
            obs: By modality; every entry finite.
            explore: For all rows or each (B,): execute a drawn elite with exploration noise;
                otherwise the plan's mean.

        Raises:
            ObservationError: Wrong shape or dtype, not finite, or nothing finite was predicted
                from it.
        """
        batch, device = check_obs(obs, self.obs_shapes), self.generator.device
        seen = to_tensors(self._frames.push(obs), device)
        last = self._plan if self._plan is not None and len(self._plan.valid) == batch else None
        self._plan, noise = self._think(seen, last, batch)
        plan = self._plan
        drawn = (plan.action + plan.std[:, 0] * noise.execution).clamp(-1, 1)
        exploring = send(torch.as_tensor(explore), device).expand(batch).unsqueeze(1)
        action = torch.where(exploring, drawn, plan.mean[:, 0])
        lost = plan.num_invalid == self.cfg.num_samples
        if bool(lost.any()) or not bool(action.isfinite().all()):
            rows = lost.nonzero().flatten().tolist()
            raise ObservationError(
                f"plan: expected a candidate with a finite return, got none for rows {rows}; "
                "the model's weights or the observation's range are broken"
            )
        result: FloatArray = action.cpu().numpy().astype(np.float32, copy=False)
        return result

    def see(self, obs: Obs) -> None:
        """Remember observations (B, ...) on which somebody else acts, for the next frame stack."""
        self._frames.push(obs)

    @torch.no_grad()
    def plan_afresh(self, seen: Mapping[str, Tensor]) -> Plan:
        """Plan for robots that have no last plan, and remember nothing of it.

        Args:
            seen: Observations by modality (B, ...), frames stacked along C, on the model's device.
        """
        return self._think(seen, None, len(next(iter(seen.values()))))[0]

    def _think(
        self, seen: Mapping[str, Tensor], last: Plan | None, batch: int
    ) -> tuple[Plan, PlanNoise]:
        """A plan, and the noise that it was made with."""
        cfg, action_dim, generator = self.cfg, self.action_dim, self.generator
        noise = draw_noise(
            cfg, batch=batch, action_dim=action_dim, num_q=self._num_q, generator=generator
        )
        if last is None:
            last = empty_plan(cfg, batch=batch, action_dim=action_dim, device=generator.device)
        return self._tick(self.model, seen, last, noise), noise

    def state(self) -> dict[str, Any]:
        """What the next `act` depends on besides the weights, as a tree."""
        plan = {} if self._plan is None else self._plan._asdict()
        return {
            "plan": {name: value.cpu().numpy() for name, value in plan.items()},
            "frames": self._frames.state(),
            "generator": self.generator.get_state().numpy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        device = self.generator.device
        # copied, so that memory is torch's own: aligned alike in every run
        tensors = {k: torch.tensor(v, device=device) for k, v in state["plan"].items()}
        self._plan = Plan(**tensors) if tensors else None
        self._frames.load_state(state["frames"])
        self.generator.set_state(torch.from_numpy(state["generator"]))


@cache  # the same function for the same planner: it is compiled once
def _make_tick(cfg: PlannerConfig) -> Callable[..., Plan]:
    return partial(tick, make_planner(cfg))


def tick(
    planner: Planner,
    model: LatentModel,
    obs: Mapping[str, Tensor],
    warm_start: Plan,
    noise: PlanNoise,
) -> Plan:
    """From observations by modality (B, ...) to a plan: all that a decision computes."""
    return planner(model, model.encode(obs), warm_start, noise)


def check_obs(obs: Obs, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Refuse observations that the model was not made for; return B.

    Raises:
        ObservationError: A modality is missing, or has the wrong shape or dtype, or is not finite.
    """
    return check_as_deployed(obs, shapes, None, ObservationError)


def to_tensors(obs: Obs, device: torch.device) -> dict[str, Tensor]:
    """Observations on the model's device, in memory of torch's own (aligned alike in every run).

    On a GPU the copies may still be under way.
    """
    return {name: send(torch.tensor(value), device) for name, value in obs.items()}
