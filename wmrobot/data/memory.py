"""How much memory the replay may take, and takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import psutil
import torch
from torch import Tensor

from wmrobot.core.errors import ConfigError

_HOST_SHARE = 0.6  # of the memory free at the start; the rest is for the model and the simulator
TORCH_DTYPE = {"state": torch.float32, "rgb": torch.uint8}


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Size and place of the memory.

    Attributes:
        buffer_size: Decisions kept, over all environments; never more than the run takes,
            and at least four horizons for each of them.
        storage: `host` keeps rows in main memory, `device` beside the model.
        budget_gb: Most memory to take [GB]; 0 means 60% of what is free.
    """

    buffer_size: int = 1_000_000
    storage: Literal["host", "device"] = "host"
    budget_gb: float = 0.0

    def __post_init__(self) -> None:
        if self.buffer_size < 1:
            raise ConfigError(f"buffer_size: expected at least 1, got {self.buffer_size}")
        if self.budget_gb < 0:
            raise ConfigError(f"budget_gb: expected at least 0, got {self.budget_gb}")


def send(value: Tensor, device: torch.device) -> Tensor:
    """The same on another device; on a GPU the copy may still be under way."""
    if device.type == "cuda" and not value.is_cuda:
        # else it would wait for what the GPU has still to do
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)  # whoever reads it on the host, or frees what it was, may do so at once


def row_bytes(
    obs_shapes: Mapping[str, tuple[int, ...]], action_dim: int, *, keep_plans: bool = False
) -> int:
    """Memory of one row [bytes]."""
    obs = sum(
        int(np.prod(shape)) * TORCH_DTYPE[name].itemsize for name, shape in obs_shapes.items()
    )
    return obs + 4 * (action_dim * (3 if keep_plans else 1) + 2) + 3 * 8


def memory_budget(cfg: ReplayConfig, device: torch.device) -> int:
    """Most bytes that the replay may take, on the host or on the device."""
    if cfg.budget_gb:
        return int(cfg.budget_gb * 1e9)
    if cfg.storage == "device" and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _HOST_SHARE)
    return int(psutil.virtual_memory().available * _HOST_SHARE)
