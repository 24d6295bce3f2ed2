"""A simulated robot's body: a task of dm_control that advances by wall-clock time.

What happens between two ticks is simulated at the second one, when all commands that took effect in
between are known: each acts from the physics step that is nearest to its time. So the simulation
need not wake at every physics step, and a late waking does not change what the robot does.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from dm_control.rl import control

from wmrobot.app.driving.perturbation import Perturbation
from wmrobot.core.errors import TaskError
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Obs
from wmrobot.envs.from_dm import DmTask
from wmrobot.envs.parameters import Parameters
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import ParameterRange, Randomization
from wmrobot.export.robot import describe_joints, model_sha256
from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.robot import NO_OUTCOME, Outcome, Robot
from wmrobot.runtime.wire.bodies import LARGEST_POSE

REMEMBERED_EPISODES = 32
FRICTION_FIELDS = ("dof_damping", "dof_frictionloss")


NOMINAL = Perturbation()


class SimRobot(Robot):
    """A task with `state` observations as a robot.

    After a reset it rests until its first command; an episode that is over rests as well. A robot
    that was stopped is not held: it swings on without a command.

    Args:
        task: Name of a task of dm_control: the suite's, ours or a user's.
        seed: Of initial states, of the perturbation and of noise.
        perturbation: How it differs.

    Raises:
        TaskError: It is no task of dm_control.
    """

    def __init__(self, task: str, *, seed: int, perturbation: Perturbation = NOMINAL) -> None:
        env = make_env(task, seed=seed, randomization=Randomization())
        if not isinstance(env, DmTask) or not isinstance(env.env, control.Environment):
            env.close()
            raise TaskError(
                f"{task}: expected a task of dm_control to simulate, which can act between ticks; "
                "serve another robot by wmrobot.runtime.server, and drive it with robot=udp://..."
            )
        self._env = env
        self._step_physics = env.env.physics.step
        spec = env.task_spec
        self.name = spec.name
        (dim,) = spec.obs_shapes["state"]
        self.sensors = spec.obs_names or tuple(f"state[{index}]" for index in range(dim))
        self.joints = joint_names(env)
        self.actuators = actuator_names(env)
        self.control_dt = spec.control_dt
        self.mjcf_sha256 = model_sha256(env.env.physics.model.ptr)
        nq = int(env.env.physics.model.nq)
        self.pose_dim = nq if nq <= LARGEST_POSE else 0
        self._dt = round(spec.control_dt * 1e9)
        self._step_ns = env.env.physics.timestep() * 1e9
        self._num_steps = round(self._dt / self._step_ns)
        self._cfg = perturbation
        self._generator = np.random.default_rng(derive_seed(seed, "noise"))
        self._parameters = Parameters(env, _ranges(env, perturbation))
        self._drawn = self._parameters.draw(
            np.random.Generator(np.random.PCG64(derive_seed(seed, "perturbation")))
        )
        self._idle = np.zeros(spec.action_dim, dtype=np.float32)
        self._schedule: list[tuple[int, FloatArray]] = []
        self._action = self._idle
        self._time = 0  # of the last tick [ns]
        self._rests = True
        self._sum, self._length = 0.0, 0
        self._outcome = NO_OUTCOME
        self._episodes: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_EPISODES)
        self._pieces: list[FloatArray] = []  # of this decision, one a physics step
        self._is_split = False
        self._sensors = self._begin(None)

    @property
    def physics(self) -> Any:
        """The dm_control physics."""
        return self._env.env.physics

    def read(self) -> FloatArray:
        """Sensors at the last tick, with noise."""
        if not self._cfg.noise:
            return self._sensors
        noise = self._generator.normal(0.0, self._cfg.noise, len(self._sensors))
        return (self._sensors + noise).astype(np.float32)

    def pose(self) -> FloatArray:
        """Joint positions at the last tick, without noise."""
        pose: FloatArray = self.physics.data.qpos.astype(np.float32)
        return pose

    def apply(self, action: FloatArray, when_ns: int) -> None:
        """Act from a time on; what has been simulated by then is not changed any more."""
        self._schedule.append((when_ns, action))
        self._rests = False

    def stop(self) -> None:
        """Let go at once: from the last tick on, nothing is commanded."""
        self._schedule.clear()
        self._action = self._idle

    def tick(self, due_ns: int) -> None:
        """Simulate up to a tick."""
        if self._rests:
            self._time = due_ns
            return
        reward = 0.0
        while not self._rests and self._time + self._dt // 2 < due_ns:
            obs, gained, terminated, truncated, info = self._decide()
            self._time += self._dt
            reward += gained
            self._sensors = _state(obs)
            success = bool(info.get("success"))
            self._outcome = Outcome(reward, terminated, truncated, success)
            self._sum += gained
            self._length += 1
            if terminated or truncated:
                self._rests = True
                self._episodes.append(
                    {"return": self._sum, "length": self._length, "success": success}
                )

    def outcome(self) -> Outcome:
        """Reward of the decisions since the tick before, and whether the episode is over."""
        return self._outcome

    def reset(self, seed: int | None) -> None:
        """Start an episode, which rests until its first command."""
        self._sensors = self._begin(seed)

    def status(self) -> Mapping[str, Any]:
        """Newest episodes, and what was perturbed."""
        return {
            "episodes": list(self._episodes),
            "perturbed": {name: float(value) for name, value in self._drawn.items()},
        }

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _begin(self, seed: int | None) -> FloatArray:
        self.stop()
        self._rests = True
        self._sum, self._length, self._outcome = 0.0, 0, NO_OUTCOME
        before = self.physics
        self._perturb()
        obs = self._env.reset(seed)
        if self.physics is not before:  # a seed that could only be set by building it anew
            self._perturb()
            obs = self._env.reset()
        self._adopt_physics()
        return _state(obs)

    def _perturb(self) -> None:
        if self._drawn:
            self._parameters.apply(self._drawn)

    def _adopt_physics(self) -> None:
        """Let the task step its physics through here, so that an action can change on the way."""
        if self.physics.step != self._step_piecewise:
            self._step_physics = self.physics.step
            self.physics.step = self._step_piecewise

    def _decide(self) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One decision of the task, its action changing where commands took effect."""
        self._pieces = []
        for step in range(self._num_steps):
            time = self._time + (step + 0.5) * self._step_ns
            while self._schedule and self._schedule[0][0] <= time:
                self._action = self._schedule.pop(0)[1]
            self._pieces.append(self._action)
        self._is_split = any(piece is not self._pieces[0] for piece in self._pieces)
        try:
            return self._env.step(self._pieces[0])
        finally:
            self._is_split = False

    def _step_piecewise(self, nstep: int = 1) -> None:
        """Stands in for the physics' own `step`, which is told one action for all of its steps."""
        if not self._is_split:
            self._step_physics(nstep)
            return
        pieces, self._pieces = self._pieces[:nstep], self._pieces[nstep:]
        while pieces:
            action = pieces[0]
            count = next((i for i, piece in enumerate(pieces) if piece is not action), len(pieces))
            self._env.env.task.before_step(self._env.scale(action), self.physics)
            self._step_physics(count)
            pieces = pieces[count:]


def joint_names(env: DmTask) -> tuple[str, ...]:
    """Names of its hinges and slides, as a bundle tells them."""
    return tuple(joint["name"] for joint in describe_joints(env.env.physics.model.ptr))


def actuator_names(env: DmTask) -> tuple[str, ...]:
    """Names of the entries of its action, as a bundle tells them."""
    spec = env.task_spec
    names = spec.action_names or ("",) * spec.action_dim
    return tuple(name or f"action{index}" for index, name in enumerate(names))


def _state(obs: Obs) -> FloatArray:
    return obs["state"].astype(np.float32, copy=False)


def _ranges(env: DmTask, cfg: Perturbation) -> tuple[ParameterRange, ...]:
    """What is drawn, where the model has a value that is not 0."""
    wanted = {"body_mass": cfg.mass, "actuator_gear": cfg.gain}
    wanted |= dict.fromkeys(FRICTION_FIELDS, cfg.friction)
    named = env.env.physics.named.model
    found = []
    for field, spread in wanted.items():
        rows = getattr(named, field)
        for name in dict.fromkeys(rows.axes.row.names or ()):
            if spread and np.any(rows[name]):
                low, high = 1 - spread, 1 + spread
                found.append(
                    ParameterRange(target=f"{field}[{name}]", low=low, high=high, scale=True)
                )
    return tuple(found)
