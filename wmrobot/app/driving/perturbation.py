"""How a simulated robot differs from the one that a planner was trained with."""

from dataclasses import dataclass

from wmrobot.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """How the robot differs from the one that was trained with. All off by default.

    Attributes:
        mass: Each body's mass is multiplied by a factor from 1 - mass to 1 + mass.
        friction: Likewise each joint's damping and friction.
        gain: Likewise what each actuator's command achieves.
        noise: Standard deviation of white noise on each sensor term, in its own unit.
    """

    mass: float = 0.0
    friction: float = 0.0
    gain: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mass", "friction", "gain"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.noise < float("inf"):
            raise ConfigError(f"noise: expected at least 0, got {self.noise}")
