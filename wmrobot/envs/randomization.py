"""What differs between a robot and its simulation: one wrapper with all of `Randomization`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wmrobot.core.errors import ObservationError
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Array, FloatArray, Obs, TaskSpec
from wmrobot.envs.parameters import Parameters
from wmrobot.envs.task import Randomization, TaskEnv


def randomize(env: TaskEnv, randomization: Randomization, seed: int) -> TaskEnv:
    """Add the differences to an environment; it is returned as it is where there are none.

    Noise, history and previous actions are part of the modality `state`; an environment that does
    not tell it keeps its observations as they are.

    Args:
        env: Environment of any source.
        randomization: Differences.
        seed: Of the random stream that parameters, delays and noise are drawn from.

    Raises:
        TaskError: A parameter's target is unknown; the message lists what exists.
    """
    if randomization == Randomization():
        return env
    return RandomizedEnv(env, randomization, seed)


class RandomizedEnv:
    """Parameters drawn at each reset, delayed actions, imperfect observations."""

    def __init__(self, env: TaskEnv, randomization: Randomization, seed: int) -> None:
        self._env = env
        self._cfg = randomization
        self._generator = _make_generator(seed)
        self._parameters = Parameters(env, randomization.parameters)
        self._spec = _describe(env.task_spec, randomization)
        self._drawn: dict[str, float] = {}
        self._commands: list[FloatArray] = []
        self._last_lag = 0
        self._history: list[FloatArray] = []

    @property
    def task_spec(self) -> TaskSpec:
        """Static facts; `state` as it is after history and previous actions."""
        return self._spec

    @property
    def physics(self) -> Any | None:
        """The inner environment's physics."""
        return self._env.physics

    @property
    def drawn(self) -> Mapping[str, float]:
        """Target -> value (or factor) drawn for this episode."""
        return dict(self._drawn)

    def reset(self, seed: int | None = None) -> Obs:
        """Draw this episode's robot, then start it; `seed` restarts both random streams."""
        if seed is not None:
            self._generator = _make_generator(derive_seed(seed, "randomization"))
        self._drawn = self._parameters.draw(self._generator)
        physics = self._env.physics
        self._parameters.apply(self._drawn)
        obs = self._env.reset(seed)
        if self._env.physics is not physics:  # the seed could only be set by building it anew
            self._parameters.apply(self._drawn)
            obs = self._env.reset()
        idle = np.zeros(self._spec.action_dim, dtype=np.float32)
        longest = max(self._cfg.action_delay[1] + 1, self._cfg.previous_actions)
        self._commands = [idle] * longest
        self._last_lag = self._cfg.action_delay[1]
        self._history = []
        return self._observe(obs)

    def step(self, action: FloatArray) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One decision: `action` is remembered now and acts after its delay."""
        command = np.clip(np.array(action, dtype=np.float32), -1.0, 1.0)
        # Asked here, as a delayed command would be refused only when it acts.
        if command.shape != (self._spec.action_dim,) or not np.isfinite(command).all():
            raise ObservationError(
                f"{self._spec.name}: expected a finite action of shape "
                f"({self._spec.action_dim},), got {np.array(action)!r}"
            )
        self._commands = [*self._commands[1:], command]
        low, high = self._cfg.action_delay
        # A newer command that already acted is not overtaken by an older one.
        lag = min(int(self._generator.integers(low, high + 1)), self._last_lag + 1)
        self._last_lag = lag
        obs, reward, terminated, truncated, info = self._env.step(self._commands[-1 - lag])
        return self._observe(obs), reward, terminated, truncated, info

    def snapshot(self) -> dict[str, Any] | None:
        """The inner snapshot, and all that was drawn; None where the inner environment has none."""
        inner = self._env.snapshot()
        if inner is None:
            return None
        return {
            "env": inner,
            "generator": self._generator.bit_generator.state,
            "drawn": dict(self._drawn),
            "commands": _stack(self._commands),
            "last_lag": self._last_lag,
            "history": _stack(self._history),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot of this environment or of one declared alike."""
        self._drawn = {target: float(value) for target, value in snapshot["drawn"].items()}
        if self._drawn:  # else it was taken before the first reset
            self._parameters.apply(self._drawn)  # before the physics derives anything from them
        self._env.restore(snapshot["env"])
        self._generator = _make_generator(0)
        self._generator.bit_generator.state = snapshot["generator"]
        self._commands = [*np.array(snapshot["commands"])]
        self._last_lag = int(snapshot["last_lag"])
        self._history = [*np.array(snapshot["history"])]

    def frame(self, height: int, width: int, camera: int | str = 0) -> npt.NDArray[np.uint8]:
        """One picture for people, (height, width, 3) uint8."""
        return self._env.frame(height, width, camera)

    def close(self) -> None:
        """Free the inner environment."""
        self._env.close()

    def _observe(self, obs: Obs) -> Obs:
        """What the controller sees of the inner observation."""
        if "state" not in obs:
            return obs
        state = np.array(obs["state"], dtype=np.float32)
        if self._cfg.obs_noise_std > 0:
            noise = self._generator.standard_normal(state.shape, dtype=np.float32)
            state += np.float32(self._cfg.obs_noise_std) * noise
        if not self._history:
            self._history = [state] * self._cfg.obs_history
        self._history = [*self._history[1:], state]
        newest = self._commands[len(self._commands) - self._cfg.previous_actions :]
        stacked: Array = np.concatenate([*self._history, *newest])
        return {**obs, "state": stacked}


def _describe(spec: TaskSpec, randomization: Randomization) -> TaskSpec:
    """The inner spec with history and previous actions, newest last."""
    if "state" not in spec.obs_shapes:
        return spec
    (size,) = spec.obs_shapes["state"]
    history, previous = randomization.obs_history, randomization.previous_actions
    shape = (history * size + previous * spec.action_dim,)
    actions = spec.action_names or tuple(f"action{k}" for k in range(spec.action_dim))
    names = [
        name if age == 0 else f"{name}[-{age}]"
        for age in reversed(range(history))
        for name in spec.obs_names
    ]
    if spec.obs_names:
        names += [f"{name}[-{age}]" for age in range(previous, 0, -1) for name in actions]
    return replace(spec, obs_shapes={**spec.obs_shapes, "state": shape}, obs_names=tuple(names))


def _make_generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _stack(rows: Sequence[FloatArray]) -> FloatArray:
    return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
