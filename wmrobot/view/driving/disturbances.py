"""What is done to the robot while it drives: pushed, made heavier, slowed, misinformed."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from wmrobot.core.spec import FloatArray, Obs
from wmrobot.envs.parameters import derive_constants

SCALED = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "dof_frictionloss", "dof_damping"),
}


class Disturbances:
    """Changes that come on top of what the task itself does.

    Args:
        physics: Tells the simulation as it is now, which a reset may replace; None without one.
        generator: Of the noise.
        action_dim: A.
    """

    def __init__(
        self, physics: Callable[[], Any | None], generator: np.random.Generator, action_dim: int
    ) -> None:
        self._physics, self._generator = physics, generator
        self._commands: deque[FloatArray] = deque(maxlen=1)
        self._action_dim = action_dim
        self.noise_std = 0.0
        self._factors = {"mass": 1.0, "friction": 1.0}
        self._model: Any | None = None
        self._nominal: dict[str, np.ndarray] = {}
        self._written: dict[str, np.ndarray] = {}
        self._push: tuple[int, np.ndarray] | None = None
        self._push_left = 0
        self._pull: tuple[int, np.ndarray] | None = None

    def begin_episode(self) -> None:
        """Look at the simulation anew after a reset, and change it again."""
        idle = np.zeros((1, self._action_dim), np.float32)
        self._commands.extend([idle] * (self._commands.maxlen or 1))
        self._push_left, self._pull = 0, None
        self.scale(**self._factors)

    def set_delay(self, decisions: int) -> None:
        """Let every action wait so many decisions before it acts."""
        idle = np.zeros((1, self._action_dim), np.float32)
        held = [idle] * (decisions + 1) + list(self._commands)
        self._commands = deque(held[-(decisions + 1) :], maxlen=decisions + 1)

    def delayed(self, action: FloatArray) -> FloatArray:
        """The action (1, A) that acts now; `action` is remembered."""
        self._commands.append(action)
        return self._commands[0]

    def noisy(self, obs: Obs) -> Obs:
        """What the robot's sensors say: white noise on `state`, in its own units."""
        if self.noise_std <= 0 or "state" not in obs:
            return obs
        noise = self._generator.standard_normal(obs["state"].shape, dtype=np.float32)
        state = np.asarray(obs["state"], dtype=np.float32)
        return {**obs, "state": state + np.float32(self.noise_std) * noise}

    def scale(self, *, mass: float, friction: float) -> None:
        """Make masses, and friction with damping, so many times the nominal ones."""
        self._factors = {"mass": mass, "friction": friction}
        physics = self._physics()
        if physics is None:
            return
        model = physics.model.ptr
        if mass == friction == 1.0 and not self._written:
            return  # nothing was ever changed: leave it as it is, to the last bit
        self._remember(model)
        for name, targets in SCALED.items():
            for target in targets:
                scaled = self._nominal[target] * self._factors[name]
                if target == "geom_friction":  # torsion and rolling are lengths: left alone
                    scaled[:, 1:] = self._nominal[target][:, 1:]
                getattr(model, target)[...] = scaled
                self._written[target] = scaled
        derive_constants(model)

    def _remember(self, model: Any) -> None:
        """Nominal values: those that stand there, but for what we have written ourselves."""
        for target in (name for targets in SCALED.values() for name in targets):
            found = getattr(model, target)
            if model is self._model:  # a reset may have written some of it anew
                ours = found == self._written[target]
                self._nominal[target] = np.where(ours, self._nominal[target], found)
            else:
                self._nominal[target] = found.copy()
        self._model = model

    def push(self, body: int, force: np.ndarray, decisions: int) -> None:
        """Push a body with a force (3,) [N] for so many decisions."""
        self._push, self._push_left = (body, force), decisions

    def pull(self, body: int, force: np.ndarray) -> None:
        """Pull at a body until told otherwise; a force of zero lets it go."""
        self._pull = (body, force) if force.any() else None

    def before_step(self) -> None:
        """Let forces act on the decision that follows."""
        physics = self._physics()
        if physics is None:
            return
        forces = physics.data.ptr.xfrc_applied
        forces[...] = 0
        if self._push_left > 0 and self._push is not None:
            body, force = self._push
            forces[body, :3] += force
            self._push_left -= 1
        if self._pull is not None:
            body, force = self._pull
            forces[body, :3] += force
