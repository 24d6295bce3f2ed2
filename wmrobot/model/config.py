"""Settings of the world model; the defaults are TD-MPC2's 5M-parameter model (profile `base`)."""

from dataclasses import dataclass

from wmrobot.core.errors import ConfigError
from wmrobot.nn.products import Precision

_LARGEST = 65_536  # of any size: beyond it is a slip of the finger, and ends far from its cause


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and ranges of the networks. Names are TD-MPC2's.

    Attributes:
        latent_dim: Z.
        mlp_dim: Width of dynamics, reward, value, prior and termination networks.
        enc_dim: Width of the state encoder.
        num_enc_layers: Layers of the state encoder, the last one included.
        num_channels: Channels of the picture encoder.
        frame_stack: Newest frames that the picture encoder sees.
        simnorm_dim: Entries of one simplex of the latent.
        num_q: Value heads.
        dropout: Dropout of the value heads' first layer.
        num_bins: M, bins of reward and value.
        vmin: Symlog of the lowest reward or value.
        vmax: Symlog of the highest.
        log_std_min: Lowest log standard deviation of the policy prior.
        log_std_max: Highest.
        precision: Of convolutions and of all matrix products but the encoder's: fp32 or bf16;
            everything else is fp32.
    """

    latent_dim: int = 512
    mlp_dim: int = 512
    enc_dim: int = 256
    num_enc_layers: int = 2
    num_channels: int = 32
    frame_stack: int = 3
    simnorm_dim: int = 8
    num_q: int = 5
    dropout: float = 0.01
    num_bins: int = 101
    vmin: float = -10.0
    vmax: float = 10.0
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name in (
            "latent_dim", "mlp_dim", "enc_dim", "num_enc_layers", "num_channels", "frame_stack",
        ):  # fmt: skip
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name}: expected at least 1, got {value}")
            if value > _LARGEST:
                raise ConfigError(f"{name}: expected at most {_LARGEST:,}, got {value:,}")
        if self.simnorm_dim < 1 or self.latent_dim % self.simnorm_dim:
            raise ConfigError(
                f"simnorm_dim: expected a divisor of latent_dim={self.latent_dim}, "
                f"got {self.simnorm_dim}"
            )
        if self.num_q < 2:
            raise ConfigError(
                f"num_q: expected at least 2 (targets take 2 heads), got {self.num_q}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: expected 0 <= dropout < 1, got {self.dropout}")
        if self.num_bins < 2 or self.vmin >= self.vmax:
            raise ConfigError(
                f"num_bins, vmin, vmax: expected at least 2 bins and vmin < vmax, "
                f"got {self.num_bins}, {self.vmin}, {self.vmax}"
            )
        if self.log_std_min >= self.log_std_max:
            raise ConfigError(
                f"log_std_min: expected less than log_std_max={self.log_std_max}, "
                f"got {self.log_std_min}"
            )
