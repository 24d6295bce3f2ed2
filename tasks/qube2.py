"""Quanser Qube-Servo 2: swing a rotary pendulum up and hold it. Sources: `docs/qube2.md`."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from dm_control import mujoco
from dm_control.rl import control
from dm_control.suite import base

from wmrobot.core.errors import TaskError, unknown
from wmrobot.core.resources import resource_folder
from wmrobot.envs.task import ParameterRange, Randomization, TaskInfo, task
from wmrobot.runtime.filters import VelocityFilter

Float64Array = npt.NDArray[np.float64]

PHYSICS_DT = 0.002  # [s] also the rate at which the driver reads the encoders
CONTROL_DT = 0.02  # [s]
EPISODE_DECISIONS = 300  # 6 s
MAX_VOLTAGE = 6.0  # [V] at action 1
COUNTS_PER_TURN = 2048
FILTER_CUTOFF = 50.0  # [rad/s]
VELOCITY_UNIT = (
    10.0  # [rad/s] that observed velocities are told in, so that all entries are of like size
)
MAX_ARM_ANGLE = math.radians(115.0)  # beyond it the cable pulls: the episode terminates
SUCCESS_ANGLE = math.radians(10.0)
SUCCESS_DECISIONS = 150  # 3 s
START_SPREAD = 0.03  # [rad] and [rad/s], each way, around hanging still
PARAMETERS = {
    "motor_resistance": 8.4,  # [ohm]
    "motor_constant": 0.042,  # [N m/A] = [V s/rad]: torque and back-EMF constant are one quantity
    "deadband": 0.65,  # [V] lost by the amplifier
    "arm_encoder_offset": 0.0,  # [rad] reading at the true zero
    "pole_encoder_offset": 0.0,  # [rad]
}


def effective_voltage(voltage: float, deadband: float) -> float:
    """Voltage at the motor [V]: the amplifier swallows the first `deadband` volts, either way."""
    return math.copysign(max(abs(voltage) - deadband, 0.0), voltage)


def quantize(angle: Float64Array) -> Float64Array:
    """Angle [rad] as an encoder of `COUNTS_PER_TURN` tells it."""
    count = 2.0 * math.pi / COUNTS_PER_TURN
    result: Float64Array = np.round(angle / count) * count
    return result


class Physics(mujoco.Physics):  # type: ignore[misc]  # dm_control is not annotated
    """Notes the joint angles of every physics step: encoders are read faster than one decides."""

    angles: Float64Array = np.zeros((0, 2))
    """(steps, 2) arm and pole [rad], pole 0 upright, of the physics steps not yet taken."""

    def step(self, nstep: int = 1) -> None:
        """Advance, noting the angles on the way."""
        angles = np.empty((nstep, 2))
        for k in range(nstep):
            super().step()
            angles[k] = self.data.qpos
        self.angles = np.concatenate([self.angles, angles])

    def take_angles(self) -> Float64Array:
        """`angles`, which are then forgotten: a decision may take several calls of `step`."""
        taken, self.angles = self.angles, self.angles[:0]
        return taken


class SwingUp(base.Task):  # type: ignore[misc]  # dm_control is not annotated
    """Swing the pole up and hold it, with the arm near the middle."""

    def __init__(self, seed: int) -> None:
        """Make the task; `seed` starts the stream of initial states."""
        super().__init__(random=np.random.RandomState(seed))
        self._parameters = dict(PARAMETERS)
        self._filter = VelocityFilter(cutoff=FILTER_CUTOFF, dt=PHYSICS_DT)
        self._encoders = np.zeros(2)
        self._filter.reset(self._encoders)
        self._command = 0.0
        self._upright_decisions = 0
        self._beyond_limit = False

    @property
    def parameters(self) -> dict[str, float]:
        """Present values of what `set_parameters` takes; units stand in `PARAMETERS`."""
        return dict(self._parameters)

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Change some; they act from the next decision, or the next reading of the encoders."""
        for name in values:
            if name not in self._parameters:
                raise TaskError(unknown("parameter of qube2", name, self._parameters))
        self._parameters.update({name: float(value) for name, value in values.items()})

    def get_state(self) -> dict[str, Any]:
        """All that the future depends on, beside the physics and the random stream."""
        return {
            "parameters": dict(self._parameters),
            "filter": self._filter.state,
            "encoders": self._encoders.copy(),
            "command": self._command,
            "upright_decisions": self._upright_decisions,
            "beyond_limit": self._beyond_limit,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `get_state` told."""
        self.set_parameters(state["parameters"])
        self._filter.state = state["filter"]
        self._encoders = np.array(state["encoders"])
        self._command = float(state["command"])
        self._upright_decisions = int(state["upright_decisions"])
        self._beyond_limit = bool(state["beyond_limit"])

    def initialize_episode(self, physics: Physics) -> None:
        """Hang the pole down, nearly still, the arm near the middle."""
        noise = self.random.uniform(-START_SPREAD, START_SPREAD, size=(2, 2))
        physics.data.qpos[:] = np.array([0.0, math.pi]) + noise[0]
        physics.data.qvel[:] = noise[1]
        physics.take_angles()
        self._encoders = self._read(physics.data.qpos)
        self._filter.reset(self._encoders)
        self._command = 0.0
        self._upright_decisions = 0
        self._beyond_limit = False
        # not the suite's own: it calls `after_step`, which has no angles to read yet

    def before_step(self, action: npt.ArrayLike, physics: Physics) -> None:
        """Turn the (1,) action in [-1, 1] into the voltage at the motor, held for one decision."""
        resistance = self._parameters["motor_resistance"]
        constant = self._parameters["motor_constant"]
        # Written anew each time, so that a restored task carries its motor into any physics.
        physics.model.actuator_gainprm[0, 0] = MAX_VOLTAGE * constant / resistance
        physics.model.actuator_biasprm[0, 2] = -constant * constant / resistance
        self._command = float(np.clip(np.asarray(action).item(), -1.0, 1.0))
        voltage = effective_voltage(MAX_VOLTAGE * self._command, self._parameters["deadband"])
        physics.data.ctrl[0] = voltage / MAX_VOLTAGE

    def after_step(self, physics: Physics) -> None:
        """Read the encoders as often as the driver would, and keep the score."""
        noted = physics.take_angles()
        for angles in self._read(noted):
            self._filter.update(angles)
            self._encoders = angles
        arm, pole = np.abs(noted[:, 0]), noted[:, 1]
        self._beyond_limit = bool((arm > MAX_ARM_ANGLE).any())
        upright = bool((np.cos(pole) >= math.cos(SUCCESS_ANGLE)).all())
        self._upright_decisions = self._upright_decisions + 1 if upright else 0
        super().after_step(physics)

    def get_observation(self, physics: Physics) -> OrderedDict[str, np.float64]:
        """What the robot's own sensors tell. `Randomization` adds the last two commands."""
        del physics  # encoders only
        arm, pole = self._encoders
        arm_velocity, pole_velocity = self._filter.velocity / VELOCITY_UNIT
        return OrderedDict(
            arm_sin=np.sin(arm),
            arm_cos=np.cos(arm),
            pole_sin=np.sin(pole),
            pole_cos=np.cos(pole),
            arm_angle=arm,
            arm_velocity_10rad_per_s=arm_velocity,
            pole_velocity_10rad_per_s=pole_velocity,
        )

    def get_reward(self, physics: Physics) -> float:
        """In [0, 1]: upright, times near the middle, times calm.

        Each factor is smooth and none is flat: a few steps of planning see a slope all the way from
        hanging. The one for the middle reaches 0 where the episode terminates: the edge is no
        cliff, and as no reward is negative, ending early is never better than going on.
        """
        arm, pole = physics.data.qpos
        pole_velocity = physics.data.qvel[1]
        upright = 0.5 * (1.0 + math.cos(pole))
        middle = max(1.0 - (arm / MAX_ARM_ANGLE) ** 2, 0.0)
        still = 0.5 * (1.0 + math.exp(-((pole_velocity / 8.0) ** 2)))
        gentle = 1.0 - 0.2 * self._command**2
        return float(upright * middle * still * gentle)

    def get_termination(self, physics: Physics) -> float | None:
        """Discount 0 once the arm has gone beyond its limit."""
        del physics
        return 0.0 if self._beyond_limit else None

    def success(self, physics: Physics) -> bool:
        """Whether the pole was within 10 degrees of upright for the whole of the last 3 s."""
        del physics
        return self._upright_decisions >= SUCCESS_DECISIONS and not self._beyond_limit

    def _read(self, angles: Float64Array) -> Float64Array:
        """Encoder readings (..., 2) [rad] of true angles (..., 2)."""
        offset = (self._parameters["arm_encoder_offset"], self._parameters["pole_encoder_offset"])
        return quantize(angles + np.array(offset))


SWINGUP = TaskInfo(
    episode_decisions=EPISODE_DECISIONS,
    cameras=("side",),
    randomization=Randomization(previous_actions=2),
)
DEGREE = math.radians(1.0)
ROBUST = Randomization(
    previous_actions=2,
    action_delay=(0, 1),
    parameters=(
        ParameterRange(target="body_mass[arm]", low=0.9, high=1.1, scale=True),
        ParameterRange(target="body_mass[pole]", low=0.9, high=1.1, scale=True),
        ParameterRange(target="dof_damping[arm_hinge]", low=5e-6, high=1e-3, log=True),
        ParameterRange(target="motor_resistance", low=0.9, high=1.1, scale=True),
        ParameterRange(target="motor_constant", low=0.9, high=1.1, scale=True),
        ParameterRange(target="deadband", low=0.0, high=0.65),
        ParameterRange(target="arm_encoder_offset", low=-DEGREE, high=DEGREE),
        ParameterRange(target="pole_encoder_offset", low=-DEGREE, high=DEGREE),
    ),
)


def make_environment(seed: int) -> control.Environment:
    """The robot and its task, without the differences that a `Randomization` adds."""
    path = resource_folder("assets") / "qube2" / "qube2.xml"
    physics = Physics.from_xml_path(str(path))
    return control.Environment(
        physics,
        SwingUp(seed),
        time_limit=EPISODE_DECISIONS * CONTROL_DT,
        control_timestep=CONTROL_DT,
    )


@task(SWINGUP)
def qube2_swingup(seed: int) -> control.Environment:
    """Nominal robot."""
    return make_environment(seed)


@task(SWINGUP, randomization=ROBUST)
def qube2_swingup_robust(seed: int) -> control.Environment:
    """Another robot at every reset: masses, motor, friction, amplifier, encoders, delay."""
    return make_environment(seed)
