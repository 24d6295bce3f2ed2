"""The Qube-Servo 2 against equations written by hand, and against a controller that solves it.

Equations of the Furuta pendulum, from the Lagrangian of two thin rods; a is the arm's angle, b the
pole's from upright, r the arm's length, l half the pole's, Jp = m (2l)^2 / 3:

    (Ja + m r^2 + Jp sin^2 b) a'' - m r l cos b b'' + 2 Jp sin b cos b a' b' + m r l sin b b'^2
        = torque - da a'
    Jp b'' - m r l cos b a'' - Jp sin b cos b a'^2 - m g l sin b = -dp b'
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm, solve_discrete_are

from wmrobot.core.errors import TaskError
from wmrobot.core.resources import resource_folder
from wmrobot.envs.user_file import find_task_function

FILE = resource_folder("tasks") / "qube2.py"
XML = resource_folder("assets") / "qube2" / "qube2.xml"

ARM_MASS, ARM_LENGTH = 0.095, 0.085
POLE_MASS, POLE_LENGTH = 0.024, 0.129
ROTOR, HUB = 4e-6, 0.6e-6
RESISTANCE, CONSTANT = 8.4, 0.042
ARM_DAMPING, POLE_DAMPING, GRAVITY = 2.7e-4, 5e-5, 9.81

ARM_INERTIA = ARM_MASS * ARM_LENGTH**2 / 3 + ROTOR + HUB
POLE_INERTIA = POLE_MASS * POLE_LENGTH**2 / 3
WEIGHT = POLE_MASS * GRAVITY * POLE_LENGTH / 2  # torque of gravity on a level pole [N m]
COUPLING = POLE_MASS * ARM_LENGTH * POLE_LENGTH / 2

Array = NDArray[np.float64]


@pytest.fixture
def env() -> Iterator[Any]:
    environment = find_task_function(FILE, "qube2_swingup")(seed=0)
    environment.reset()
    yield environment
    environment.close()


def load_model() -> tuple[Any, Any]:
    model = mujoco.MjModel.from_xml_path(str(XML))
    return model, mujoco.MjData(model)


def accelerations(q: Array, v: Array, voltage: float) -> Array:
    """The equations above, solved for the two accelerations."""
    (_, b), (va, vb) = q, v
    sin, cos = math.sin(b), math.cos(b)
    torque = CONSTANT * (voltage - CONSTANT * va) / RESISTANCE
    inertia = np.array(
        [
            [ARM_INERTIA + POLE_MASS * ARM_LENGTH**2 + POLE_INERTIA * sin**2, -COUPLING * cos],
            [-COUPLING * cos, POLE_INERTIA],
        ]
    )
    forces = np.array(
        [
            torque
            - ARM_DAMPING * va
            - 2 * POLE_INERTIA * sin * cos * va * vb
            - COUPLING * sin * vb**2,
            POLE_INERTIA * sin * cos * va**2 + WEIGHT * sin - POLE_DAMPING * vb,
        ]
    )
    result: Array = np.linalg.solve(inertia, forces)
    return result


def linearize(derivative: Callable[[Array, float], Array]) -> tuple[Array, Array]:
    """Jacobians (4, 4) and (4, 1) about upright, by central differences."""
    step = 1e-5
    a = [(derivative(e, 0.0) - derivative(-e, 0.0)) / (2 * step) for e in step * np.eye(4)]
    b = (derivative(np.zeros(4), step) - derivative(np.zeros(4), -step)) / (2 * step)
    return np.stack(a, axis=1), b[:, None]


def simulated_derivative() -> Callable[[Array, float], Array]:
    model, data = load_model()

    def derivative(x: Array, voltage: float) -> Array:
        data.qpos[:], data.qvel[:] = x[:2], x[2:]
        data.ctrl[0] = voltage / 6.0
        mujoco.mj_forward(model, data)
        return np.concatenate([data.qvel, data.qacc])

    return derivative


def test_accelerations_match_the_equations_of_motion() -> None:
    derivative = simulated_derivative()
    generator = np.random.default_rng(0)
    for _ in range(200):
        q = generator.uniform(-math.pi, math.pi, 2)
        v = generator.normal(scale=15.0, size=2)
        voltage = generator.uniform(-6.0, 6.0)
        simulated = derivative(np.concatenate([q, v]), voltage)[2:]
        np.testing.assert_allclose(simulated, accelerations(q, v, voltage), rtol=1e-6, atol=1e-5)


def test_upright_pole_falls_at_12_4_per_second_with_the_arm_free() -> None:
    a, _ = linearize(simulated_derivative())  # motor at 0 V, so its back-EMF brakes the arm
    assert np.linalg.eigvals(a).real.max() == pytest.approx(12.4, abs=0.5)


def test_pole_turns_about_its_pivot_with_a_third_of_m_l_squared() -> None:
    model, data = load_model()
    mujoco.mj_forward(model, data)
    inertia = np.zeros((2, 2))
    mujoco.mj_fullM(model, data, inertia)
    assert inertia[1, 1] == pytest.approx(POLE_MASS * POLE_LENGTH**2 / 3, rel=1e-6)
    arm = ARM_MASS * ARM_LENGTH**2 / 3 + ROTOR + HUB + POLE_MASS * ARM_LENGTH**2
    assert inertia[0, 0] == pytest.approx(arm, rel=1e-6)


def test_energy_is_kept_without_friction_and_motor() -> None:
    model, data = load_model()
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    model.dof_damping[:] = 0.0
    model.actuator_gainprm[:] = model.actuator_biasprm[:] = 0.0
    data.qpos[:], data.qvel[:] = (0.3, 1.0), (2.0, -3.0)
    mujoco.mj_forward(model, data)
    start = data.energy.sum()
    for _ in range(1500):
        mujoco.mj_step(model, data)
        assert abs(data.energy.sum() - start) < 1e-4 * WEIGHT


def test_motor_stalls_and_runs_as_its_constants_say(env: Any) -> None:
    physics = env.physics
    env.task.set_parameters({"deadband": 0.0, "motor_resistance": 5.0, "motor_constant": 0.05})
    env.task.before_step([0.5], physics)
    physics.data.qvel[0] = 7.0
    physics.forward()
    torque = 0.05 * (3.0 - 0.05 * 7.0) / 5.0
    assert physics.data.actuator_force[0] == pytest.approx(torque, rel=1e-12)


@pytest.mark.parametrize(
    ("action", "voltage"),
    [(0.0, 0.0), (0.1, 0.0), (-0.1, 0.0), (0.5, 2.35), (-0.5, -2.35), (1.0, 5.35), (9.0, 5.35)],
)
def test_amplifier_swallows_the_deadband(env: Any, action: float, voltage: float) -> None:
    env.task.before_step([action], env.physics)
    assert 6.0 * env.physics.data.ctrl[0] == pytest.approx(voltage, abs=1e-12)


def test_encoders_tell_whole_counts_of_2048_a_turn(env: Any) -> None:
    for _ in range(20):
        observation = env.step([0.3]).observation
        counts = observation["arm_angle"] * 2048 / (2 * math.pi)
        assert counts == pytest.approx(round(counts), abs=1e-9)
        pole = math.atan2(observation["pole_sin"], observation["pole_cos"]) * 2048 / (2 * math.pi)
        assert pole == pytest.approx(round(pole), abs=1e-9)
        error = observation["arm_angle"] - env.physics.data.qpos[0]
        assert abs(error) <= math.pi / 2048 + 1e-12


def test_encoder_offset_shifts_the_reading_only(env: Any) -> None:
    env.task.set_parameters({"arm_encoder_offset": math.radians(45.0)})
    observation = env.reset().observation
    assert observation["arm_angle"] == pytest.approx(math.radians(45.0), abs=0.04)
    assert abs(env.physics.data.qpos[0]) < 0.04
    assert observation["arm_velocity_10rad_per_s"] == 0.0


def test_velocities_lag_as_the_shared_filter_does(env: Any) -> None:
    env.task.set_parameters({"deadband": 0.0})
    told, true = [], []
    for k in range(40):
        observation = env.step([0.3 * math.sin(0.3 * k)]).observation
        told.append(10.0 * observation["arm_velocity_10rad_per_s"])
        true.append(env.physics.data.qvel[0])
    lagged = np.interp(np.arange(40) - 1.0, np.arange(40), true)  # 1 / (50 rad/s) is one decision
    assert np.abs(np.array(told) - lagged)[5:].max() < 0.25 * np.abs(true).max()
    assert np.corrcoef(told, lagged)[0, 1] > 0.98


def test_decisions_come_at_50_hz_for_six_seconds(env: Any) -> None:
    assert env.control_timestep() == pytest.approx(0.02)
    assert env.physics.timestep() == pytest.approx(0.002)
    steps = [env.step([0.0]) for _ in range(300)]
    assert [step.last() for step in steps] == [False] * 299 + [True]
    assert steps[-1].discount == 1.0  # truncated, not terminated


def test_arm_beyond_115_degrees_terminates_with_value_0(env: Any) -> None:
    env.physics.data.qpos[0] = math.radians(114.0)
    env.physics.data.qvel[0] = 0.0
    assert not env.step([0.0]).last()
    env.physics.data.qpos[0] = math.radians(-116.0)
    step = env.step([0.0])
    assert step.last()
    assert step.discount == 0.0
    assert step.reward == 0.0
    assert not env.task.success(env.physics)


def test_reward_is_one_only_for_upright_middle_and_calm(env: Any) -> None:
    def reward(arm: float, pole: float, pole_velocity: float = 0.0, action: float = 0.0) -> float:
        env.task.before_step([action], env.physics)
        env.physics.data.qpos[:] = (arm, pole)
        env.physics.data.qvel[:] = (0.0, pole_velocity)
        return float(env.task.get_reward(env.physics))

    best = reward(0.0, 0.0)
    assert best == 1.0
    for worse in (
        reward(0.5, 0.0),
        reward(0.0, 0.3),
        reward(0.0, 0.0, pole_velocity=3.0),
        reward(0.0, 0.0, action=1.0),
    ):
        assert 0.0 < worse < 0.99
    assert reward(0.0, math.pi) == pytest.approx(0.0, abs=1e-12)
    generator = np.random.default_rng(0)
    for arm, pole, velocity, action in generator.normal(scale=(1, 3, 15, 1), size=(500, 4)):
        assert 0.0 <= reward(arm, pole, velocity, action) <= 1.0


def test_parameters_with_unknown_names_are_refused(env: Any) -> None:
    with pytest.raises(
        TaskError, match=r"no parameter of qube2 named 'deadbnd'. Did you mean 'dea"
    ):
        env.task.set_parameters({"deadbnd": 0.0})


def test_starts_hanging_nearly_still(env: Any) -> None:
    starts = np.array([(env.reset(), env.physics.data.qpos.copy())[1] for _ in range(20)])
    assert np.abs(starts - [0.0, math.pi]).max() <= 0.03
    assert len(np.unique(starts)) == 40


class ScriptedController:
    """Pumps energy until the pole comes near the top, then holds it by linear feedback.

    It sees what a learned controller sees, encoder counts and filtered velocities, at 50 Hz.
    """

    CATCH, KEEP = 0.35, 0.5  # [rad] from upright: where feedback takes over, and gives up
    PUMP, OVERSHOOT, MAX_PUMP = 0.7, 1.0, 0.6  # friction and lag eat part of the target energy
    CENTERING = 0.3  # per rad, while pumping
    DEADBAND = 0.65 / 6.0

    def __init__(self) -> None:
        def derivative(x: Array, voltage: float) -> Array:
            return np.concatenate([x[2:], accelerations(x[:2], x[2:], voltage)])

        a, b = linearize(derivative)
        held = expm(np.block([[a, 6.0 * b], [np.zeros((1, 5))]]) * 0.02)  # action held 20 ms
        a, b = held[:4, :4], held[:4, 4:]
        state_cost, action_cost = np.diag([1.0, 10.0, 0.05, 0.1]), np.array([[2.0]])
        p = solve_discrete_are(a, b, state_cost, action_cost)
        self._gain = np.linalg.solve(action_cost + b.T @ p @ b, b.T @ p @ a)[0]
        self._velocity: Array | None = None
        self._holds = False

    def act(self, observation: dict[str, Any]) -> float:
        velocity = 10.0 * np.array(
            [observation["arm_velocity_10rad_per_s"], observation["pole_velocity_10rad_per_s"]]
        )
        last = velocity if self._velocity is None else self._velocity
        self._velocity = velocity
        velocity = 2.0 * velocity - last  # undoes the filter's lag of one decision
        arm = observation["arm_angle"]
        pole = math.atan2(observation["pole_sin"], observation["pole_cos"])
        self._holds = abs(pole) < (self.KEEP if self._holds else self.CATCH)
        if self._holds:
            action = -float(self._gain @ np.array([arm, pole, *velocity]))
        else:
            action = self._pump(pole, float(velocity[1])) - self.CENTERING * arm
        if abs(action) > 0.005:  # give back what the amplifier swallows
            action = math.copysign(abs(action) * (1 - self.DEADBAND) + self.DEADBAND, action)
        return float(np.clip(action, -1.0, 1.0))

    def _pump(self, pole: float, velocity: float) -> float:
        energy = 0.5 * POLE_INERTIA * velocity**2 / WEIGHT + math.cos(pole) - 1.0
        push = self.PUMP * (self.OVERSHOOT - energy) * math.tanh(0.5 * velocity * math.cos(pole))
        return float(np.clip(push, -self.MAX_PUMP, self.MAX_PUMP))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_scripted_controller_swings_up_and_holds(seed: int) -> None:
    env = find_task_function(FILE, "qube2_swingup")(seed)
    controller = ScriptedController()
    step, total = env.reset(), 0.0
    while not step.last():
        step = env.step([controller.act(step.observation)])
        total += step.reward
    assert step.discount == 1.0  # the arm stayed within its limit
    assert env.task.success(env.physics)
    assert total > 200.0
    env.close()


def test_doing_nothing_earns_nothing(env: Any) -> None:
    rewards = [env.step([0.0]).reward for _ in range(300)]
    assert sum(rewards) < 0.1
    assert not env.task.success(env.physics)
