"""One gradient update of the world model and of its policy prior."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.data.batch import Batch
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.losses import Gradients, UpdateNoise, model_gradients, prior_gradients
from wmrobot.learn.shift import random_shift
from wmrobot.learn.state_head import StateHead
from wmrobot.model.world_model import WorldModel


class Learner:
    """Weights, targets and optimisers; everything that an update changes.

    Args:
        model: World model to train.
        cfg: Losses and optimisers.
        generator: Random stream of the updates, on the model's device.
        compiler: Makes the losses faster.
        state_dim: O, where the state is told from the latent; None where it is not.
    """

    def __init__(
        self,
        model: WorldModel,
        cfg: LearnerConfig,
        generator: torch.Generator,
        compiler: Compiler = leave_as_is,
        state_dim: int | None = None,
    ) -> None:
        self.model, self.cfg, self.generator = model, cfg, generator
        self.state_head: StateHead | None = None
        if state_dim is not None:
            self.state_head = StateHead(model.cfg.latent_dim, state_dim).to(generator.device)
        self.target_values = copy.deepcopy(model.values).requires_grad_(False)
        prior = list(model.prior.parameters())
        encoder = list(model.encoder.parameters())
        known = {id(p) for p in prior + encoder}
        others = [p for p in model.parameters() if id(p) not in known]
        others += [] if self.state_head is None else self.state_head.parameters()
        # one kernel for all weights, where torch has one
        self.optimizer = torch.optim.Adam(
            [
                {"params": encoder, "lr": cfg.lr * cfg.enc_lr_scale},
                {"params": others, "lr": cfg.lr},
            ],
            fused=True,
        )
        self.prior_optimizer = torch.optim.Adam(prior, lr=cfg.lr, eps=1e-5, fused=True)
        self._base_lrs = [g["lr"] for g in self._groups()]
        self._model_params, self._prior_params = encoder + others, prior
        self._value_params: list[Tensor] = list(model.values.parameters())
        self._target_params: list[Tensor] = list(self.target_values.parameters())
        self.scale = torch.ones((), device=generator.device)
        self._model_gradients = compiler(model_gradients)
        self._prior_gradients = compiler(prior_gradients)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One update on one batch; returns metrics as tensors, on the device.

        Args:
            batch: See `Batch`; on the model's device.
        """
        noise = self.draw_noise(batch)
        obs = {
            name: random_shift(value, noise.shift[name]) if name in noise.shift else value
            for name, value in batch.obs.items()
        }
        batch = batch._replace(obs=obs)
        losses, gradients = self._model_gradients(
            self.model, self.target_values, self._model_params, batch, noise, self.cfg,
            self.state_head,
        )  # fmt: skip
        grad_norm = self._step(self.optimizer, self._model_params, gradients)
        prior_metrics = self._update_prior(losses.zs, batch, noise)
        with torch.no_grad():
            torch._foreach_lerp_(self._target_params, self._value_params, self.cfg.tau)
        return {
            "total_loss": losses.total,
            "consistency_loss": losses.consistency,
            "reward_loss": losses.reward,
            "value_loss": losses.value,
            "termination_loss": losses.termination,
            "state_loss": losses.state,
            "grad_norm": grad_norm,
            **prior_metrics,
        }

    def _update_prior(self, zs: Tensor, batch: Batch, noise: UpdateNoise) -> dict[str, Tensor]:
        losses, gradients = self._prior_gradients(
            self.model, self._prior_params, zs, batch, noise, self.scale, self.cfg
        )
        grad_norm = self._step(self.prior_optimizer, self._prior_params, gradients)
        self.scale.copy_(losses.scale)
        return {
            "prior_loss": losses.total,
            "prior_entropy": losses.entropy,
            "prior_grad_norm": grad_norm,
            "value_mean": losses.value_mean,
            "value_scale": losses.scale,
        }

    def _step(
        self, optimizer: torch.optim.Adam, params: Sequence[Tensor], gradients: Gradients
    ) -> Tensor:
        """Clip the gradients, and follow them; their norm before."""
        for param, gradient in zip(params, gradients, strict=True):
            # laid out as the weight: convolutions give theirs with channels last, and Adam's fused
            # kernel would take one entry's gradient for another's
            param.grad = gradient.contiguous()
        norm = torch.nn.utils.clip_grad_norm_(params, self.cfg.grad_clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def draw_noise(self, batch: Batch) -> UpdateNoise:
        """All the randomness of an update on a batch of that shape."""
        horizon, size, action_dim = batch.action.shape
        cfg, generator = self.model.cfg, self.generator
        device = generator.device

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        def pair() -> Tensor:
            return torch.randperm(cfg.num_q, generator=generator, device=device)[:2]

        def keep(heads: int, rows: int) -> Tensor | None:
            if cfg.dropout == 0:
                return None
            mask = torch.empty(heads, rows, cfg.mlp_dim, device=device)
            return mask.bernoulli_(1 - cfg.dropout, generator=generator).div_(1 - cfg.dropout)

        most = self.cfg.max_shift
        pictures = [name for name, value in batch.obs.items() if value.dtype == torch.uint8]
        return UpdateNoise(
            target=normal(horizon, size, action_dim),
            prior=normal(horizon + 1, size, action_dim),
            target_heads=pair(),
            prior_heads=pair(),
            dropout=keep(cfg.num_q, horizon * size),
            prior_dropout=keep(2, (horizon + 1) * size),
            shift={
                name: torch.randint(
                    -most, most + 1, (horizon + 1, size, 2), generator=generator, device=device
                )
                for name in pictures
                if most
            },
        )

    def look(self, obs: Mapping[str, Tensor], *, pictures: bool) -> None:
        """See before the first update what observations (..., by modality) are like here.

        Args:
            obs: Many of them.
            pictures: Whether the encoder looks too; weights from elsewhere know theirs.
        """
        if pictures:
            self.model.encoder.standardise(obs)
        if self.state_head is not None:
            self.state_head.standardise(obs["state"])

    def set_progress(self, progress: float) -> None:
        """Set the learning rates for a run of which `progress` (0 to 1) is done."""
        scale = self.cfg.lr_scale(progress)
        for group, lr in zip(self._groups(), self._base_lrs, strict=True):
            group["lr"] = lr * scale

    def _groups(self) -> list[dict[str, Any]]:
        return [*self.optimizer.param_groups, *self.prior_optimizer.param_groups]

    def weights_finite(self) -> bool:
        """Whether every weight is a number; waits for the device."""
        return all(bool(p.isfinite().all()) for p in self._model_params + self._prior_params)

    def state(self) -> dict[str, Any]:
        """Everything but the model's own weights, as a tree of arrays of its own."""
        return {
            "target_values": _to_arrays(self.target_values),
            "optimizer": _adam_state(self.optimizer),
            "prior_optimizer": _adam_state(self.prior_optimizer),
            "state_head": _to_arrays(self.state_head) if self.state_head else {},
            "scale": _to_array(self.scale),
            "generator": self.generator.get_state().numpy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.target_values.load_state_dict(_to_tensors(state["target_values"]))
        if self.state_head:
            self.state_head.load_state_dict(_to_tensors(state["state_head"]))
        _load_adam_state(self.optimizer, state["optimizer"])
        _load_adam_state(self.prior_optimizer, state["prior_optimizer"])
        self.scale.copy_(torch.from_numpy(state["scale"]))
        self.generator.set_state(torch.from_numpy(state["generator"]))


def _to_array(value: Tensor) -> np.ndarray:
    """A copy, which later updates leave alone."""
    return value.detach().cpu().numpy().copy()


def _to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: _to_array(value) for name, value in module.state_dict().items()}


def _to_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _adam_state(optimizer: torch.optim.Adam) -> dict[str, Any]:
    return {
        str(index): {key: _to_array(value) for key, value in entry.items()}
        for index, entry in optimizer.state_dict()["state"].items()
    }


def _load_adam_state(optimizer: torch.optim.Adam, state: Mapping[str, Any]) -> None:
    groups = optimizer.state_dict()["param_groups"]
    # copied: the optimiser keeps and changes what it is given
    entries = {
        int(index): {key: torch.tensor(value) for key, value in entry.items()}
        for index, entry in state.items()
    }
    optimizer.load_state_dict({"state": entries, "param_groups": groups})
