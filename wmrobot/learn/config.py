"""Settings of the update step; names and defaults are TD-MPC2's."""

from dataclasses import dataclass
from typing import Literal

from wmrobot.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """Losses and optimisers.

    Attributes:
        batch_size: Subsequences in one update.
        lr: Learning rate.
        enc_lr_scale: Learning rate of the encoder, as a share of `lr`.
        lr_final_scale: Learning rate at the run's last decision, as a share; falls linearly over
            the last `lr_decay_fraction` of the run. 1 leaves it constant, as in TD-MPC2.
        lr_decay_fraction: Share of the run over which the learning rate falls.
        grad_clip_norm: Largest gradient norm.
        rho: Weight of each further step of the imagined rollout.
        td_lambda: Share of the next decision's own target in a value target, up to the window's
            end; 0 is TD-MPC2's one-step target.
        tau: Rate at which the target value heads follow.
        consistency_coef: Weight of latent consistency.
        reward_coef: Weight of the reward's cross-entropy.
        value_coef: Weight of the value's cross-entropy.
        termination_coef: Weight of the termination's cross-entropy.
        entropy_coef: Weight of the prior's entropy.
        state_coef: Weight of telling the state from latents of pictures, where `obs=rgb`: training
            sees the state, the controller does not (Lambrechts et al. 2024, Informed POMDP).
            0 learns from pictures alone.
        max_shift: Most that a picture is shifted at random [pixels], along rows and columns, as an
            augmentation; 0 leaves pictures where they are. 3 is TD-MPC2's, for 64x64.
        prior_from: What the prior learns from: `value`, which it climbs as in TD-MPC2, or `plan`,
            where it imitates the planner (Wang et al. 2025, Bootstrapped MPC).
        replan_every: Updates between two re-plannings of old decisions, where `prior_from=plan`.
        replan_size: Decisions that are planned again each time.
        discount_denom: Episode length over this gives the effective horizon.
        discount_min: Lowest discount.
        discount_max: Highest discount.
    """

    batch_size: int = 256
    lr: float = 3e-4
    enc_lr_scale: float = 0.3
    lr_final_scale: float = 1.0
    lr_decay_fraction: float = 0.25
    grad_clip_norm: float = 20.0
    rho: float = 0.5
    td_lambda: float = 0.0
    tau: float = 0.01
    consistency_coef: float = 20.0
    reward_coef: float = 0.1
    value_coef: float = 0.1
    termination_coef: float = 1.0
    entropy_coef: float = 1e-4
    state_coef: float = 0.0
    max_shift: int = 3
    prior_from: Literal["value", "plan"] = "value"
    replan_every: int = 10
    replan_size: int = 20
    discount_denom: float = 5.0
    discount_min: float = 0.95
    discount_max: float = 0.995

    def __post_init__(self) -> None:
        for name in ("batch_size", "replan_every", "replan_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.prior_from == "plan" and self.replan_size > self.batch_size:
            raise ConfigError(
                f"replan_size: expected at most batch_size={self.batch_size}, "
                f"got {self.replan_size}"
            )
        for name in ("lr", "enc_lr_scale", "grad_clip_norm", "discount_denom"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: expected more than 0, got {getattr(self, name)}")
        for name in ("rho", "td_lambda", "tau", "lr_final_scale", "lr_decay_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        for name in (
            "max_shift",
            "consistency_coef",
            "reward_coef",
            "value_coef",
            "termination_coef",
            "entropy_coef",
            "state_coef",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if not 0 <= self.discount_min <= self.discount_max < 1:
            raise ConfigError(
                "discount_min, discount_max: expected 0 <= discount_min <= discount_max < 1, "
                f"got {self.discount_min} and {self.discount_max}"
            )

    def discount(self, episode_decisions: int) -> float:
        """Discount for episodes of that length: `1 - discount_denom / length`, within bounds."""
        return min(
            max(1 - self.discount_denom / episode_decisions, self.discount_min), self.discount_max
        )

    def lr_scale(self, progress: float) -> float:
        """Share of `lr` to use when `progress` (0 to 1) of the run is done."""
        decay_start = 1 - self.lr_decay_fraction
        if progress <= decay_start or self.lr_decay_fraction == 0:
            return 1.0
        done = min((progress - decay_start) / self.lr_decay_fraction, 1.0)
        return 1.0 + (self.lr_final_scale - 1.0) * done
