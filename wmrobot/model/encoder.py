"""From observations to the latent: one encoder per modality, fused before SimNorm."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from wmrobot.core.errors import ConfigError
from wmrobot.model.config import ModelConfig
from wmrobot.nn.activations import simnorm
from wmrobot.nn.products import convolution
from wmrobot.nn.stacked import NormedLinear

CONVOLUTIONS = ((7, 2), (5, 2), (3, 2), (3, 1))
"""Kernel and stride of each layer of TD-MPC2's picture encoder."""


def make_state_encoder(cfg: ModelConfig, obs_dim: int) -> nn.Module:
    """MLP (..., O) -> (..., Z), layer-normed, not yet SimNormed."""
    widths = [obs_dim, *[cfg.enc_dim] * (cfg.num_enc_layers - 1)]
    hidden = [NormedLinear(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(*hidden, NormedLinear(widths[-1], cfg.latent_dim, activate=False))


class PictureEncoder(nn.Module):
    """Four convolutions and a normed projection: (..., C, height, width) uint8 -> (..., Z)."""

    def __init__(self, cfg: ModelConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *size = shape
        self.convolutions = nn.Sequential()
        for index, (kernel, stride) in enumerate(CONVOLUTIONS):
            self.convolutions.append(nn.Conv2d(channels, cfg.num_channels, kernel, stride))
            if index < len(CONVOLUTIONS) - 1:
                self.convolutions.append(nn.ReLU(inplace=True))
            channels = cfg.num_channels
            size = [(edge - kernel) // stride + 1 for edge in size]
        if min(size) < 1:
            raise ConfigError(f"image_size: expected pictures of 64x64 or more, got {shape[1:]}")
        self.project = NormedLinear(channels * size[0] * size[1], cfg.latent_dim, activate=False)
        self.precision = cfg.precision
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.full(shape, 128, dtype=torch.uint8))
        self.register_buffer("spread", torch.tensor(255.0))

    @torch.no_grad()
    def standardise(self, pictures: Tensor) -> None:
        """See pictures from now on by how they differ from the mean of these (n, C, height, width).

        Most of a picture is the same in all of them. With that left in, the latents differed so
        little that the consistency loss made them all alike before the reward could tell them
        apart: decision 0061.
        """
        grey = pictures.float()
        mean = (grey.mean(dim=0) + 0.5).floor()  # the same whatever is added to all pictures
        self.mean.copy_(mean)
        self.spread.copy_((grey - mean).square().mean().sqrt().clamp(min=1.0))

    def forward(self, picture: Tensor) -> Tensor:
        """Encode frames stacked along C, uint8."""
        lead = picture.shape[:-3]
        x = picture.reshape(-1, *picture.shape[-3:])
        # The first layer's weights do the scaling, without another pass over all pictures.
        for index, layer in enumerate(self.convolutions):
            if not isinstance(layer, nn.Conv2d):
                x = layer(x)
                continue
            weight, bias = layer.weight, layer.bias
            assert bias is not None
            first = index == 0
            x = convolution(
                x,
                weight / self.spread if first else weight,
                bias,
                layer.stride,
                self.precision,
                centre=self.mean if first else None,
            )
        z: Tensor = self.project(x.flatten(1).to(self.project.linear.weight.dtype))
        return z.reshape(*lead, z.shape[-1])


class Encoder(nn.Module):
    """Fused encoder. The sum of layer-normed modalities goes through one SimNorm.

    Args:
        cfg: Sizes.
        obs_shapes: Shape by modality, frames already stacked along C.
    """

    def __init__(self, cfg: ModelConfig, obs_shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.simnorm_dim = cfg.simnorm_dim
        self.parts = nn.ModuleDict()
        for name, shape in sorted(obs_shapes.items()):
            if len(shape) == 1:
                self.parts[name] = make_state_encoder(cfg, shape[0])
            else:
                self.parts[name] = PictureEncoder(cfg, shape)

    def standardise(self, obs: Mapping[str, Tensor]) -> None:
        """Look at what pictures (..., C, height, width) are like here, before learning begins."""
        for name, part in self.parts.items():
            if isinstance(part, PictureEncoder):
                part.standardise(obs[name].flatten(0, -4))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Latent (..., Z) of observations by modality."""
        encoded = [part(obs[name]) for name, part in self.parts.items()]
        return simnorm(
            torch.stack(encoded).sum(dim=0) if len(encoded) > 1 else encoded[0], self.simnorm_dim
        )
