"""A simulated robot: in lock step the task itself, between ticks as exact as its physics."""

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.realtime import MS, ROOT, FakePort, PretendPlanner, command, running
from wmrobot.app.driving.sim_body import Perturbation, SimRobot
from wmrobot.app.driving.sim_robot import main
from wmrobot.core.errors import ConfigError, TaskError
from wmrobot.core.spec import FloatArray
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import Randomization
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.driving.lockstep import LockstepServer
from wmrobot.runtime.robot import Command, Phase, Reading
from wmrobot.runtime.wire.greeting import greet
from wmrobot.runtime.wire.messages import Bye, Reset, Status, Stop
from wmrobot.runtime.wire.port import Port, wait

SLOWER = ("walker-walk", "humanoid-run", "reacher-easy", "lqr-lqr-2-1")
TASKS = [
    "qube2-swingup",
    "cartpole-swingup",
    *(pytest.param(task, marks=pytest.mark.slow) for task in SLOWER),
]
T0 = 1_000 * MS


def draw_actions(count: int, dim: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, dim)).astype(np.float32)


def started(task: str, **changes: Any) -> SimRobot:
    robot = SimRobot(task, seed=3, **changes)
    robot.reset(5)
    robot.tick(T0)
    return robot


class Lockstep:
    """A planner in lock step with a task."""

    def __init__(self, robot: SimRobot) -> None:
        port = FakePort()
        self.server = LockstepServer(robot, port)
        self.planner = PretendPlanner(port)
        self.planner.hello()
        self.server.step()
        self.planner.heard()
        self.sequence = 0

    def reset(self, seed: int) -> Reading:
        self.planner.say(Reset(episode=self.server._episode + 1, seed=seed))
        self.server.step()
        reading: Reading = self.planner.heard()[-1]
        return reading

    def act(self, action: FloatArray, made_from: int) -> Reading:
        self.sequence += 1
        self.planner.say(
            Command(
                sequence=self.sequence, made_from=made_from, when_ns=0, actions=action[None]
            )
        )  # fmt: skip
        self.server.step()
        reading: Reading = self.planner.heard()[-1]
        return reading


@pytest.mark.parametrize("task", TASKS)
def test_lock_step_is_the_task_itself_to_the_bit(task: str) -> None:
    env = make_env(task, seed=3, randomization=Randomization())
    with closing(SimRobot(task, seed=3)) as robot:
        loop = Lockstep(robot)
        for seed in (5, 6):
            state = env.reset(seed)["state"]
            reading = loop.reset(seed)
            np.testing.assert_array_equal(reading.sensors, state)
            for action in draw_actions(40, env.task_spec.action_dim):
                obs, reward, terminated, truncated, info = env.step(action)
                reading = loop.act(action, reading.sequence)
                np.testing.assert_array_equal(reading.sensors, obs["state"])
                assert reading.outcome == (
                    reward, terminated, truncated, bool(info.get("success"))
                )  # fmt: skip
                if terminated or truncated:
                    break
    env.close()


def test_the_pose_is_where_the_joints_are() -> None:
    with closing(SimRobot("qube2-swingup", seed=3, perturbation=Perturbation(noise=0.5))) as robot:
        loop = Lockstep(robot)
        assert (loop.server.description.pose_dim, loop.planner.session.sizes.pose) == (2, 2)  # type: ignore[union-attr]
        reading = loop.reset(5)
        for action in draw_actions(5, 1):
            reading = loop.act(action, reading.sequence)
            qpos = robot.physics.data.qpos.astype(np.float32)
            np.testing.assert_array_equal(reading.pose, qpos)
            # the sensors have noise on them: the picture has none
            assert abs(reading.sensors[4] - reading.pose[0]) > 1e-3


def test_lock_step_tells_a_lost_reading_again() -> None:
    with closing(SimRobot("cartpole-swingup", seed=0)) as robot:
        loop = Lockstep(robot)
        first = loop.reset(1)
        second = loop.act(np.ones(1, np.float32), first.sequence)
        again = loop.act(np.ones(1, np.float32), first.sequence)
        assert (again.sequence, again.time_ns) == (second.sequence, second.time_ns)
        assert again.time_ns - first.time_ns == 20 * MS


def test_lock_step_stops_when_it_is_told_to_and_waits_for_a_reset() -> None:
    with closing(SimRobot("cartpole-swingup", seed=0)) as robot:
        loop = Lockstep(robot)
        running_one = loop.act(np.ones(1, np.float32), loop.reset(1).sequence)
        loop.planner.say(Stop())
        loop.server.step()
        (stopped,) = loop.planner.heard()
        assert (running_one.phase, stopped.phase) == (Phase.RUNNING, Phase.IDLE)
        np.testing.assert_array_equal(stopped.command, [0.0])
        again = loop.act(np.ones(1, np.float32), stopped.sequence)
        assert again.sequence == stopped.sequence
        assert loop.reset(2).phase is Phase.READY


def test_an_episode_ends_and_is_reported() -> None:
    with closing(SimRobot("qube2-swingup", seed=0)) as robot:
        loop = Lockstep(robot)
        reading, total = loop.reset(1), 0.0
        while reading.phase is not Phase.ENDED:
            reading = loop.act(np.zeros(1, np.float32), reading.sequence)
            total += reading.outcome.reward
        assert reading.outcome.truncated
        assert reading.decision == 300
        (episode,) = robot.status()["episodes"]
        assert episode["length"] == 300
        assert episode["return"] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("task", ["qube2-swingup", "cartpole-swingup"])
def test_the_same_action_again_on_the_way_changes_nothing(task: str) -> None:
    with closing(started(task)) as whole, closing(started(task)) as split:
        dt = round(whole.control_dt * 1e9)
        for k, action in enumerate(draw_actions(20, len(whole.actuators))):
            begin = T0 + k * dt
            whole.apply(action, begin)
            split.apply(action, begin)
            split.apply(action.copy(), begin + dt // 2)
            for robot in (whole, split):
                robot.tick(begin + dt)
            np.testing.assert_array_equal(whole.read(), split.read())
            assert whole.outcome() == split.outcome()


@pytest.mark.parametrize(("when_ms", "steps"), [(0, 0), (4, 0), (6, 1), (10, 1), (16, 2)])
def test_an_action_acts_from_the_nearest_physics_step(when_ms: int, steps: int) -> None:
    """Cartpole's physics takes 10 ms a step, its decision 20 ms."""
    with (
        closing(started("cartpole-swingup")) as robot,
        closing(started("cartpole-swingup")) as by_hand,
    ):
        before, after = np.float32([-0.3]), np.float32([0.8])
        robot.apply(before, T0)
        robot.apply(after, T0 + when_ms * MS)
        robot.tick(T0 + 20 * MS)
        physics = by_hand.physics
        for step in range(2):
            physics.set_control(after if step >= steps else before)
            physics.step()
        np.testing.assert_array_equal(robot.physics.data.qpos, physics.data.qpos)
        np.testing.assert_array_equal(robot.physics.data.qvel, physics.data.qvel)


def test_a_robot_rests_until_its_first_command() -> None:
    with closing(started("cartpole-swingup")) as robot:
        initial = robot.read()
        for k in range(1, 50):
            robot.tick(T0 + k * 20 * MS)
        np.testing.assert_array_equal(robot.read(), initial)
        robot.apply(np.ones(1, np.float32), T0 + 49 * 20 * MS)
        robot.tick(T0 + 50 * 20 * MS)
        assert (robot.read() != initial).any()


def test_a_stopped_robot_is_not_held() -> None:
    with closing(started("cartpole-swingup")) as robot:
        robot.apply(np.ones(1, np.float32), T0)
        robot.tick(T0 + 20 * MS)
        robot.stop()
        moving = robot.read()
        robot.tick(T0 + 40 * MS)
        assert (robot.read() != moving).any()
        np.testing.assert_array_equal(robot.physics.data.ctrl, [0.0])


def test_ticks_that_were_slept_through_are_simulated_all_the_same() -> None:
    with (
        closing(started("cartpole-swingup")) as robot,
        closing(started("cartpole-swingup")) as other,
    ):
        for each in (robot, other):
            each.apply(np.ones(1, np.float32), T0)
        robot.tick(T0 + 80 * MS)
        total = 0.0
        for k in range(1, 5):
            other.tick(T0 + k * 20 * MS)
            total += other.outcome().reward
        np.testing.assert_array_equal(robot.read(), other.read())
        assert robot.outcome().reward == pytest.approx(total)


def test_a_perturbed_robot_is_another_one_and_the_same_for_its_seed() -> None:
    cfg = Perturbation(mass=0.2, friction=0.3, gain=0.1)
    with (
        closing(started("cartpole-swingup", perturbation=cfg)) as one,
        closing(started("cartpole-swingup", perturbation=cfg)) as same,
        closing(started("cartpole-swingup")) as nominal,
    ):
        drawn = one.status()["perturbed"]
        assert drawn == same.status()["perturbed"]
        assert {name.split("[")[0] for name in drawn} == {
            "body_mass", "dof_damping", "actuator_gear",
        }  # fmt: skip
        for name in ("body_mass", "dof_damping", "actuator_gear"):
            ours = getattr(one.physics.model, name)
            theirs = getattr(nominal.physics.model, name)
            changed = theirs != 0
            assert (ours[changed] != theirs[changed]).all()
            assert (np.abs(ours[changed] / theirs[changed] - 1) <= 0.3).all()
        one.reset(7)
        assert one.status()["perturbed"] == drawn
        np.testing.assert_array_equal(one.physics.model.body_mass, same.physics.model.body_mass)


def test_noise_is_white_and_on_the_sensors_alone() -> None:
    with (
        closing(started("cartpole-swingup", perturbation=Perturbation(noise=0.1))) as robot,
        closing(started("cartpole-swingup")) as exact,
    ):
        readings = np.stack([robot.read() for _ in range(2000)])
        np.testing.assert_allclose(
            readings.mean(axis=0), exact.read(), atol=5 * 0.1 / math.sqrt(2000)
        )
        np.testing.assert_allclose(readings.std(axis=0), 0.1, rtol=0.1)


@pytest.mark.parametrize("changes", [{"mass": 1.0}, {"gain": -0.1}, {"noise": math.inf}])
def test_an_impossible_perturbation_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Perturbation(**changes)


def test_a_task_without_physics_steps_is_refused() -> None:
    with pytest.raises(TaskError, match="expected a task of dm_control"):
        SimRobot("gym:Pendulum-v1", seed=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected either bundle=FOLDER or task=NAME"),
        (["task=cartpole-swingup", "mas=0.1"], "no setting named 'mas'. Did you mean 'mass'?"),
        (["task=cartpole-swingup", "mass=x"], "mass: expected a number, got 'x'"),
        (["task=cartpole-swingup", "loss=2"], "loss: expected a share"),
        (["task=cartpole-swingap"], "Did you mean 'cartpole-swingup'?"),
        (["task"], "'task': expected key=value"),
        (["task=a", "task=b"], "task: expected once"),
        (["task=cartpole-swingup", "lockstep=1"], "lockstep: expected true or false"),
    ],
)
def test_what_a_user_can_cure_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told


def test_a_bundle_of_another_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_for = SimpleNamespace(task="cartpole-swingup", document={"mjcf_sha256": "0" * 64})
    monkeypatch.setattr(Bundle, "read", lambda folder: SimpleNamespace(description=made_for))
    assert main(["bundle=anywhere"]) == 2
    assert "expected the model of cartpole-swingup as it is here" in capsys.readouterr().err


def drive(port_number: int, task_dt: float, for_s: float) -> Iterator[Reading | Status]:
    """A planner that knows nothing: random plans, in time."""
    port = Port()
    session, description = greet(port, ("127.0.0.1", port_number), (Reading, Status))
    assert description.control_dt == task_dt
    draw, sequence = np.random.default_rng(0), 0
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        wait([port], time.monotonic_ns() + 20 * MS)
        while (received := port.receive()) is not None:
            message = session.unpack(received[0])
            if not isinstance(message, Reading | Status):  # overtaken, or told twice
                continue
            yield message
            if isinstance(message, Status):
                continue
            if message.phase in (Phase.READY, Phase.RUNNING):
                sequence += 1
                when = message.time_ns + round(task_dt * 1e9)
                actions = draw.uniform(-1, 1, (4, len(description.actuators))).astype(np.float32)
                answer = command(0.0, when_ns=when, sequence=sequence, made_from=message.sequence)
                port.send(session.pack(_with_actions(answer, actions)), received[1])
            else:
                port.send(session.pack(Reset(episode=message.episode + 1, seed=1)), received[1])
    port.send(session.pack(Bye()), ("127.0.0.1", port_number))
    port.close()


def _with_actions(plan: Command, actions: FloatArray) -> Command:
    return Command(
        sequence=plan.sequence, made_from=plan.made_from, when_ns=plan.when_ns, actions=actions
    )


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.parametrize(
    "words",
    [
        ["task=qube2-swingup"],
        [
            "task=qube2-swingup", "mass=0.1", "friction=0.2", "gain=0.1", "noise=0.01",
            "obs_delay_ms=3", "action_delay_ms=3", "jitter_ms=2", "loss=0.05", "duplicate=0.1",
            "reorder=0.1", "stall_every_s=0.5", "stall_ms=30",
        ],
    ],
    ids=["nominal", "perturbed"],
)  # fmt: skip
def test_a_process_keeps_wall_clock_time(words: list[str]) -> None:
    begin = time.monotonic_ns()
    with running("-m", "wmrobot.app.driving.sim_robot", "port=0", "exit_idle_s=20", *words) as sim:
        heard = list(drive(sim.port, 0.02, 3.0))
        sim.popen.terminate()
        assert sim.popen.wait(timeout=10) == 0
    readings = [each for each in heard if isinstance(each, Reading)]
    running_ones = [each for each in readings if each.phase is Phase.RUNNING]
    spacing = np.diff([each.time_ns for each in readings if each.sequence > 5])
    assert begin < readings[0].time_ns < readings[-1].time_ns < time.monotonic_ns()
    assert len(running_ones) > 60
    assert max(abs(each.sensors).max() for each in running_ones) < 100
    if len(words) == 1:
        assert np.median(spacing) == 20 * MS
        assert running_ones[-1].ticks[0] >= 0.8 * sum(running_ones[-1].ticks)
        same = [e for e in running_ones if e.episode == running_ones[0].episode]
        for a, b in itertools.pairwise(same):  # time passes as decisions do
            assert b.time_ns - a.time_ns == (b.decision - a.decision) * 20 * MS


@pytest.mark.slow
def test_a_process_ends_when_whoever_started_it_is_gone() -> None:
    words = ["-m", "wmrobot.app.driving.sim_robot", "task=cartpole-swingup", "exit_with_stdin=true"]
    sim = subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert sim.stdout is not None
    assert sim.stdin is not None
    sim.stdout.readline()
    sim.stdin.close()
    assert sim.wait(timeout=10) == 0
    sim.stdout.close()
