"""Named random streams: one seed, many independent generators, all of them part of a checkpoint."""

import numpy as np
import torch

from wmrobot.core.seeds import derive_seed


def make_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of one named stream on one device."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed(seed, name))
    return generator


def make_numpy_generator(seed: int, name: str) -> np.random.Generator:
    """Numpy generator of one named stream; its `bit_generator.state` is plain JSON."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, name)))
