"""Settings of the planners; the defaults are TD-MPC2's (profile `base`)."""

from dataclasses import dataclass, replace
from typing import Literal

from wmrobot.core.errors import ConfigError

MANY_ACTUATORS = 20
"""From so many on, TD-MPC2 plans in more rounds."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What every planner shares.

    Attributes:
        horizon: H, decisions imagined.
        iterations: I, rounds of refinement.
        num_samples: N, candidates a round, proposals of the prior included.
        num_elites: K, candidates that shape the next round.
        num_prior: P, action sequences proposed by the policy prior (TD-MPC2's `num_pi_trajs`).
        min_std: Least spread of the search.
        max_std: Spread that the search starts with.
        value_lambda: What all that lies deeper in a rollout counts, beside the value of the action
            taken at each depth (Bhardwaj, Choudhury, Boots 2021, "Blending MPC & Value Function
            Approximation", where it is lambda). 1 asks for a value only where the rollout ends, as
            TD-MPC2 does. Towards 0 the first action alone decides, and the later ones, which a
            deployed planner falls back on, are left to chance.
    """

    horizon: int = 3
    iterations: int = 6
    num_samples: int = 512
    num_elites: int = 64
    num_prior: int = 24
    min_std: float = 0.05
    max_std: float = 2.0
    value_lambda: float = 1.0

    def __post_init__(self) -> None:
        for name in ("horizon", "iterations", "num_samples", "num_elites"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.num_prior < self.num_samples:
            raise ConfigError(
                f"num_prior: expected 0 <= num_prior < num_samples={self.num_samples}, "
                f"got {self.num_prior}"
            )
        if self.num_elites > self.num_samples:
            raise ConfigError(
                f"num_elites: expected at most num_samples={self.num_samples}, "
                f"got {self.num_elites}"
            )
        if not 0 < self.min_std <= self.max_std:
            raise ConfigError(
                f"min_std, max_std: expected 0 < min_std <= max_std, "
                f"got {self.min_std} and {self.max_std}"
            )
        if not 0 < self.value_lambda <= 1:
            raise ConfigError(
                f"value_lambda: expected 0 < value_lambda <= 1, got {self.value_lambda}"
            )


@dataclass(frozen=True, kw_only=True)
class MppiConfig(SearchConfig):
    """Elites weighed by softmax of their returns (Williams et al. 2015; Hansen et al. 2022).

    Attributes:
        inverse_temperature: Multiplies the returns (TD-MPC2 calls it `temperature`).
    """

    kind: Literal["mppi"] = "mppi"
    inverse_temperature: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inverse_temperature <= 0:
            raise ConfigError(
                f"inverse_temperature: expected more than 0, got {self.inverse_temperature}"
            )


@dataclass(frozen=True, kw_only=True)
class CemConfig(SearchConfig):
    """Elites weighed alike (Rubinstein 1999; de Boer et al. 2005)."""

    kind: Literal["cem"] = "cem"


@dataclass(frozen=True, kw_only=True)
class IcemConfig(SearchConfig):
    """CEM with coloured noise and elites that stay (Pinneri et al. 2020).

    Attributes:
        noise_beta: Exponent of the noise's power spectrum along the horizon; 0 is white. So is the
            noise of a horizon below 4, whatever this says: it has but one frequency above 0.
        keep_fraction: Share of the elites that stays in the next round, and in the next plan.
    """

    kind: Literal["icem"] = "icem"
    noise_beta: float = 1.0
    keep_fraction: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_beta < 0:
            raise ConfigError(f"noise_beta: expected at least 0, got {self.noise_beta}")
        if not 0 <= self.keep_fraction <= 1:
            raise ConfigError(f"keep_fraction: expected 0 to 1, got {self.keep_fraction}")
        if self.num_prior + self.num_kept >= self.num_samples:
            raise ConfigError(
                f"num_samples: expected more than num_prior + kept elites = "
                f"{self.num_prior + self.num_kept}, got {self.num_samples}"
            )

    @property
    def num_kept(self) -> int:
        """Elites that stay."""
        return int(self.num_elites * self.keep_fraction)


PlannerConfig = MppiConfig | CemConfig | IcemConfig


def widen(cfg: PlannerConfig, *, action_dim: int, extra_iterations: int) -> PlannerConfig:
    """The planner for a robot: with more rounds where it has many actuators.

    Args:
        cfg: Planner as it is set.
        action_dim: A.
        extra_iterations: Rounds that `MANY_ACTUATORS` and more are worth.
    """
    if action_dim < MANY_ACTUATORS:
        return cfg
    return replace(cfg, iterations=cfg.iterations + extra_iterations)
