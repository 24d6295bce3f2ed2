"""From a latent to joint positions: a small network, fitted beside the model, for the eye alone.

Planning never sees it. It is fitted when a window opens, on states that the robot is driven
through for the purpose, and says how far off it is on states that it was not fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

WIDTH = 256
STEPS = 1000
BATCH = 256
HELD_OUT = 0.2  # share of the states that the error is measured on


@dataclass(frozen=True, kw_only=True)
class Error:
    """How far a decoder is off on held-out states.

    Attributes:
        qpos: (nq,) root mean square error of each entry of `qpos`, angles wrapped [rad or m].
        spread: (nq,) standard deviation of each entry over the states.
        num_states: States that it was fitted on.
    """

    qpos: np.ndarray
    spread: np.ndarray
    num_states: int

    @property
    def is_seen(self) -> np.ndarray:
        """(nq,) whether the latent tells an entry; how far a robot has walked it does not."""
        seen: np.ndarray = self.qpos < 0.5 * np.maximum(self.spread, 1e-6)
        return seen


class Decoder(nn.Module):
    """(..., Z) to joint positions (..., nq) and velocities (..., nv).

    Args:
        latent_dim: Z.
        turns: (nq,) bool: angles without limits, which are told as sine and cosine.
        num_velocities: nv.
    """

    turns: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int, turns: np.ndarray, num_velocities: int) -> None:
        super().__init__()
        self.register_buffer("turns", torch.from_numpy(turns.astype(np.bool_)))
        self._num_plain, self._num_turns = int((~turns).sum()), int(turns.sum())
        size = self._num_plain + 2 * self._num_turns + num_velocities
        self.body = nn.Sequential(
            nn.Linear(latent_dim, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, size),
        )
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def features(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """What is regressed on, for (..., nq) and (..., nv)."""
        angles = qpos[..., self.turns]
        return torch.cat([qpos[..., ~self.turns], angles.sin(), angles.cos(), qvel], dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        """Features (..., F), standardised."""
        features: Tensor = self.body(z)
        return features

    @torch.inference_mode()
    def decode(self, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (..., nq) and velocities (..., nv) of latents (..., Z)."""
        told = self.forward(z) * self.scale + self.mean
        plain, turns = self._num_plain, self._num_turns
        qpos = told.new_zeros(*z.shape[:-1], plain + turns)
        qpos[..., ~self.turns] = told[..., :plain]
        sine, cosine = told[..., plain : plain + turns], told[..., plain + turns :][..., :turns]
        qpos[..., self.turns] = torch.atan2(sine, cosine)
        return qpos.cpu().numpy(), told[..., plain + 2 * turns :].cpu().numpy()


def fit(
    z: Tensor,
    qpos: np.ndarray,
    qvel: np.ndarray,
    turns: np.ndarray,
    generator: torch.Generator,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Decoder, Error]:
    """Fit a decoder to states.

    Args:
        z: (M, Z) latents.
        qpos: (M, nq) joint positions then.
        qvel: (M, nv) joint velocities then.
        turns: (nq,) bool, see `Decoder`.
        generator: On the latents' device: first weights, split and batches follow from it.
        beat: Called now and then.

    Returns:
        The decoder, and its error on the states held out.
    """
    decoder = Decoder(z.shape[1], turns, qvel.shape[1]).to(z.device)
    with torch.no_grad():
        for weight in decoder.body.parameters():  # not torch's global stream
            bound = (1 / weight.shape[-1]) ** 0.5
            drawn = torch.rand(weight.shape, generator=generator, device=z.device)
            weight.copy_((2 * drawn - 1) * bound)
    order = torch.randperm(len(z), generator=generator, device=z.device)
    split = int(len(z) * HELD_OUT)
    aside, used = order[:split], order[split:]
    positions = torch.from_numpy(qpos.astype(np.float32)).to(z.device)
    velocities = torch.from_numpy(qvel.astype(np.float32)).to(z.device)
    target = decoder.features(positions, velocities)
    decoder.mean.copy_(target[used].mean(dim=0))
    decoder.scale.copy_(target[used].std(dim=0).clamp(min=1e-4))
    target = (target - decoder.mean) / decoder.scale
    optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        beat()
        picked = torch.randint(len(used), (BATCH,), generator=generator, device=z.device)
        batch = used[picked]
        loss = (decoder(z[batch]) - target[batch]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    told, _ = decoder.eval().decode(z[aside])
    rows = aside.cpu().numpy()
    off = wrap(told - qpos[rows], turns)
    spread = np.where(turns, _angle_spread(qpos), qpos.std(axis=0))
    error = Error(qpos=np.sqrt(np.square(off).mean(axis=0)), spread=spread, num_states=len(used))
    return decoder, error


def wrap(difference: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Differences (..., nq) of joint positions, those of turning joints within half a turn."""
    wrapped = (difference + np.pi) % (2 * np.pi) - np.pi
    return np.where(turns, wrapped, difference)


def _angle_spread(angles: np.ndarray) -> np.ndarray:
    """(nq,) standard deviation of angles (M, nq) on the circle; at most half a turn."""
    length = np.abs(np.exp(1j * angles).mean(axis=0)).clip(1e-4, 1.0)
    spread: np.ndarray = np.sqrt(-2 * np.log(length)).clip(max=np.pi)
    return spread
