"""The control loop of a window: what people do there reaches planner and robot."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.panes import Pane
from tests.tiny import MODEL, PLANNER, make_card
from wmrobot.app.controllers import make_model
from wmrobot.core.errors import ConfigError, DataError, ObservationError
from wmrobot.core.random import make_generator
from wmrobot.core.spec import FloatArray, Obs
from wmrobot.envs.vector import VectorEnv
from wmrobot.runtime.errors import ObservationError as RobotObservationError
from wmrobot.view.controls import Control
from wmrobot.view.driving.driver import Driver
from wmrobot.view.driving.mind import LearnedMind
from wmrobot.view.driving.rig import Rig
from wmrobot.view.live_layout import (
    NOTHING,
    drive_controls,
    planner_controls,
    record_controls,
    world_controls,
)
from wmrobot.view.recorded.recording import Recorder, Recording, recordings
from wmrobot.view.recorded.tape import Tape

TASK = "cartpole-swingup"


class Films:
    """Films nothing, and says so."""

    def begin(self, path: Path) -> str:
        return f"filming {path}"

    def news(self) -> str | None:
        return None


class Ticks:
    """A clock on which only sleep passes."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)


def make_env(seed: int) -> VectorEnv:
    return VectorEnv(TASK, 1, seed=seed)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    import torch

    torch.manual_seed(0)
    card = make_card(TASK)
    mind = LearnedMind(
        model=make_model(card, torch.device("cpu")).eval(),
        base=PLANNER,
        obs_shapes=card.task.obs_shapes,
        frame_stack=MODEL.frame_stack,
        generator=make_generator(0, "test"),
    )
    rig = Rig(make_env, 1)
    controls = (
        *drive_controls(1, follow=False),
        *planner_controls(PLANNER, "trained"),
        *world_controls(tuple(rig.bodies()), rig.weight()),
        *record_controls((), is_run=False, has_scene=True),
    )
    tape = Tape(tmp_path / "out", TASK, card.task.control_dt, films=Films(), shapes=rig.shapes())
    yield Driver(mind, rig, Pane(), controls, tape, Ticks())
    rig.close()


def run(driver: Driver, rounds: int, *pressed: tuple[str, Any]) -> Pane:
    """Go round the loop so many times, after people have pressed something."""
    eye = driver.eye
    assert isinstance(eye, Pane)
    eye.pressed.extend(pressed)
    left = iter(range(rounds))
    driver.run(lambda: next(left, None) is not None)
    return eye


def positions(eye: Pane) -> list[np.ndarray]:
    return [message["qpos"] for message in eye.messages if "qpos" in message]


def test_every_decision_is_shown(driver: Driver) -> None:
    eye = run(driver, 3)
    shown = [message for message in eye.messages if "qpos" in message]
    assert [message["tick"] for message in shown] == [0, 1, 2]
    assert [message.get("cut", False) for message in shown] == [True, False, False]
    first = shown[0]
    assert first["plan_mean"].shape == (2, 1)  # what follows the action
    assert first["series"].keys() >= {"reward", "imagined reward", "expected return", "planning"}
    assert first["stages_ms"].keys() == {"encode", "prior", "search", "transport"}
    assert first["values"]["horizon"] == 3


def test_loop_keeps_true_speed(driver: Driver) -> None:
    run(driver, 10)
    assert driver._clock.now() == pytest.approx(10 * driver.rig.spec.control_dt)
    run(driver, 10, ("speed", 0.5))
    assert driver._clock.now() == pytest.approx(30 * driver.rig.spec.control_dt)


def test_slider_changes_the_planner(driver: Driver) -> None:
    eye = run(driver, 1, ("horizon", 5), ("samples", 32), ("planner", "icem"))
    mind = driver.mind
    assert isinstance(mind, LearnedMind)
    assert (mind.planner.kind, mind.planner.horizon, mind.planner.num_samples) == ("icem", 5, 32)
    assert eye.messages[-1]["plan_mean"].shape == (4, 1)


def test_what_another_one_planned_is_over(driver: Driver) -> None:
    eye = run(driver, 2, ("pause", True))
    driver.tell(**{"decoder off by": "0.1 rad"})
    run(driver, 2, ("agent", "prior"), ("horizon", 99))
    (told,) = [message for message in eye.messages if "anew" in message]
    assert told["values"]["agent"] == "prior"
    assert told["facts"]["decoder off by"] == "0.1 rad"  # what still holds comes along


def test_last_of_two_hands_on_a_slider_wins(driver: Driver) -> None:
    eye = run(driver, 1, ("horizon", 5), ("horizon", 7))
    assert driver.values["horizon"] == 7
    assert eye.messages[-1]["values"]["horizon"] == 7


def test_rubbish_is_refused_and_told(driver: Driver) -> None:
    eye = run(driver, 1, ("horizon", 99), ("nonsense", 1), ("agent", "priest"))
    assert driver.values["horizon"] == 3
    assert len(eye.said()) == 2
    assert eye.said()[0] == "horizon: expected 1 to 16 decisions, got 99"


def test_pause_and_single_decisions(driver: Driver) -> None:
    driver.show_first()
    eye = run(driver, 5, ("pause", True))
    assert len(positions(eye)) == 1
    run(driver, 5, ("step", True))
    assert len(positions(eye)) == 2
    run(driver, 5, ("pause", False))
    assert len(positions(eye)) == 7


@pytest.mark.parametrize("begin", [("reset", True), ("seed", 7)])
def test_new_episode_is_seen_though_the_robot_rests(driver: Driver, begin: tuple[str, Any]) -> None:
    run(driver, 3)
    eye = run(driver, 3, ("pause", True))
    eye.messages.clear()
    run(driver, 3, begin)
    (shown,) = positions(eye)
    np.testing.assert_array_equal(shown, driver.rig.place()["qpos"])
    first = eye.messages[0]
    assert (first["tick"], first["cut"]) == (0, True)
    assert first["facts"]["episode"] == "return 0.0 after 0 decisions"


def test_beat_of_a_loop_that_hears_nobody_says_nothing_of_controls(driver: Driver) -> None:
    driver.beat()
    (told,) = driver.eye.messages  # type: ignore[attr-defined]
    assert told.keys() == {"facts"}


def test_dragged_seed_restarts_once_a_round(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(driver.rig, "restart", seeds.append)
    run(driver, 2, *(("seed", seed) for seed in range(2, 9)))
    assert seeds == [8]


def test_same_seed_starts_the_same_robot(driver: Driver) -> None:
    run(driver, 1, ("seed", 7))
    eye = run(driver, 1, ("seed", 8))
    run(driver, 1, ("seed", 7))
    first, other, again = positions(eye)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def drive_with(driver: Driver, *pressed: tuple[str, Any]) -> np.ndarray:
    """Where the robot is after ten decisions of no action at all, from the same start."""
    run(driver, 1, ("agent", "zero"), ("seed", 3))
    run(driver, 9, *pressed)
    return np.asarray(driver.rig.place()["qpos"])


def test_push_changes_the_trajectory(driver: Driver) -> None:
    alone = drive_with(driver)
    np.testing.assert_array_equal(drive_with(driver), alone)
    pushed = drive_with(driver, ("body", "cart"), ("newtons", 20.0), ("push", True))
    assert pushed[0] > alone[0] + 0.01  # along +x
    assert "pushed cart +x with 20 N for 0.2 s" in driver.eye.said()  # type: ignore[union-attr]
    run(driver, 1, ("reset", True))
    assert not driver.rig.env.physics(0).data.xfrc_applied.any()  # type: ignore[union-attr]


def test_drag_pulls_until_it_ends(driver: Driver) -> None:
    alone = drive_with(driver)
    pulled = drive_with(driver, ("pull", [1, 5.0, 0.0, 0.0]))
    assert pulled[0] > alone[0] + 0.01
    run(driver, 1, ("pull", [1, 0.0, 0.0, 0.0]))
    assert not driver.rig.env.physics(0).data.xfrc_applied.any()  # type: ignore[union-attr]


def test_mass_is_scaled_and_comes_back(driver: Driver) -> None:
    model = driver.rig.env.physics(0).model.ptr  # type: ignore[union-attr]
    mass, inertia = model.body_mass.copy(), model.body_inertia.copy()
    run(driver, 1, ("mass", 2.0))
    np.testing.assert_allclose(model.body_mass, 2 * mass)
    np.testing.assert_allclose(model.body_inertia, 2 * inertia)
    run(driver, 1, ("reset", True))  # an episode later it is not doubled again
    np.testing.assert_allclose(model.body_mass, 2 * mass)
    run(driver, 1, ("mass", 1.0))
    np.testing.assert_array_equal(model.body_mass, mass)


def test_what_a_reset_writes_anew_is_scaled_once(driver: Driver) -> None:
    told, model = driver.rig.disturbances, driver.rig.env.physics(0).model.ptr  # type: ignore[union-attr]
    nominal = model.dof_damping.copy() + 0.5
    model.dof_damping[:] = nominal
    run(driver, 1, ("friction", 2.0))
    for drawn in (0.25, 0.125):
        model.dof_damping[0] = drawn  # as a task does whose resets draw one joint's damping
        told.begin_episode()
        np.testing.assert_allclose(model.dof_damping, [2 * drawn, *2 * nominal[1:]])
    run(driver, 1, ("friction", 1.0))
    np.testing.assert_allclose(model.dof_damping, [0.125, *nominal[1:]])


def test_a_robot_that_leaves_all_bounds_begins_anew(driver: Driver) -> None:
    eye = run(driver, 20, ("pull", [1, 1e12, 0.0, 0.0]))
    assert any(said.startswith("a new episode begins: ") for said in eye.said())
    eye = run(driver, 3)
    assert np.isfinite(eye.messages[-1]["qpos"]).all()


@pytest.mark.parametrize("kind", [ObservationError, RobotObservationError])
def test_a_planner_without_a_finite_plan_begins_anew(
    kind: type[Exception], driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of learned models and of bundles say so in ways of their own."""

    def lost(obs: Obs) -> FloatArray:
        monkeypatch.undo()
        raise kind("plan: expected a candidate with a finite return")

    monkeypatch.setattr(driver.mind, "act", lost)
    eye = run(driver, 3)
    assert "a new episode begins: plan: expected a candidate with a finite return" in eye.said()
    assert len(positions(eye)) > 1  # it drives on


def test_a_recording_that_goes_on_at_the_end_is_kept(driver: Driver, tmp_path: Path) -> None:
    run(driver, 4, ("record", True))
    assert driver.tape is not None
    driver.tape.end(driver)
    (path,) = (tmp_path / "out").iterdir()
    assert len(Recording.load(path)) == 4


def test_delayed_actions_act_later(driver: Driver) -> None:
    told = driver.rig.disturbances
    told.set_delay(2)
    acting = [told.delayed(np.full((1, 1), k, np.float32))[0, 0] for k in range(1, 5)]
    assert acting == [0, 0, 1, 2]


def test_noise_is_added_to_what_is_sensed_alone(driver: Driver) -> None:
    run(driver, 1, ("noise", 0.1))
    sensed = driver.rig.sense()["state"]
    assert 0 < np.abs(sensed - driver.rig.obs["state"]).max() < 1


def test_recording_comes_back_and_is_played(driver: Driver, tmp_path: Path) -> None:
    eye = run(driver, 6, ("record", True))
    driven = positions(eye)
    run(driver, 1, ("record", False))
    (name,) = recordings(tmp_path / "out")
    stored = Recording.load(recordings(tmp_path / "out")[name])
    np.testing.assert_array_equal(stored.arrays["qpos"], np.stack(driven))
    assert {"reward", "planning"} == set(stored.curves)
    assert eye.messages[-1]["choices"]["recording"] == [NOTHING, name]
    assert eye.messages[-1]["highs"] == {"position": 0.01}
    eye.messages.clear()
    run(driver, 1, ("recording", name), ("play", False), ("position", 0.02))
    np.testing.assert_array_equal(positions(eye)[-1], driven[1])
    assert eye.messages[-1]["highs"] == {"position": pytest.approx(stored.seconds)}
    run(driver, 1, ("position", stored.seconds + 0.01))
    assert eye.said()[-1].startswith("position: expected 0 to ")
    run(driver, 2, ("recording", NOTHING))
    assert driver.values["position"] == 0.0
    assert "the robot drives on" in eye.said()
    assert len([message for message in eye.messages if "anew" in message]) == 2


def test_a_recording_looks_as_the_robot_did(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = driver.rig.env.physics(0).model.ptr  # type: ignore[union-attr]
    drawn: list[float] = []  # how red each model is that the window is told

    def publish_model(told: Any) -> int:
        drawn.append(float(told.geom_rgba[0, 0]))
        return len(drawn)

    monkeypatch.setattr(driver.eye, "publish_model", publish_model)
    model.geom_rgba[0, 0] = 0.25
    run(driver, 2, ("record", True))
    model.geom_rgba[0, 0] = 0.75  # as a task does whose resets draw it
    run(driver, 2, ("reset", True))
    run(driver, 1, ("record", False), ("pause", True))
    (name,) = recordings(tmp_path / "out")
    stored = Recording.load(recordings(tmp_path / "out")[name])
    assert stored.arrays["episode"].tolist() == [1, 1, 2, 2]
    assert [stored.looks_at(index)["geom_rgba"][0, 0] for index in (0, 1, 2, 3)] == [
        0.25, 0.25, 0.75, 0.75,
    ]  # fmt: skip
    assert drawn == [0.25, 0.75]
    dt = stored.control_dt
    for index, looks in ((0, [0.25]), (1, [0.25]), (2, [0.25, 0.75]), (1, [0.25, 0.75, 0.25])):
        chosen = [("recording", name), ("play", False)] if index == 0 else []
        eye = run(driver, 2, *chosen, ("position", index * dt))
        assert drawn[2:] == looks
        assert eye.messages[-1]["scene"] == len(drawn)
    run(driver, 2, ("recording", NOTHING), ("pause", False))
    assert drawn[-1] == 0.75  # the robot itself again
    assert model.geom_rgba[0, 0] == 0.75


def test_recording_of_another_robot_is_refused_and_the_loop_goes_on(
    driver: Driver, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "x.rollout.npz"
    path.parent.mkdir()
    Recording(task=TASK, control_dt=0.02, arrays={"qpos": np.zeros((4, 3))}).save(path)
    assert driver.tape is not None
    driver.tape.end(driver)
    driver.tape._files["x"] = path
    eye = run(driver, 3, ("recording", "x"))
    said = "qpos: expected (2,), as the robot has that is here, got (3,)"
    assert eye.said() == [f"recording: {path}: {said}"]
    assert len(positions(eye)) == 3
    assert driver.values["recording"] == NOTHING


@pytest.mark.parametrize("numbers", [None, [0.0, 1.0], [-1.0, 0.0]])
def test_looks_that_are_not_numbered_are_refused(
    numbers: list[float] | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.rollout.npz"
    arrays = {"qpos": np.zeros((2, 2))} | ({} if numbers is None else {"look": np.array(numbers)})
    looks = {"geom_rgba": np.zeros((1, 3, 4))}
    Recording(task=TASK, control_dt=0.02, arrays=arrays, looks=looks).save(path)
    with pytest.raises(DataError, match="expected looks, and the number of one for each decision"):
        Recording.load(path)


def test_looks_that_no_robot_has_are_refused(tmp_path: Path) -> None:
    recording = Recording(
        task=TASK, control_dt=0.02, arrays={"qpos": np.zeros((1, 2)), "look": np.zeros(1)},
        looks={"opt": np.zeros((1, 3))},
    )  # fmt: skip
    with pytest.raises(DataError, match="opt: expected none, as the robot has that is here, got"):
        recording.check(tmp_path, {"qpos": (2,)})


def test_recording_to_begin_with_can_be_left(driver: Driver, tmp_path: Path) -> None:
    recorder = Recorder(TASK, 0.02)
    for k in range(100):
        recorder.add({"qpos": np.full(2, 5.0 + k)})
    path = tmp_path / "from-elsewhere.rollout.npz"
    recorder.finish().save(path)
    assert driver.tape is not None
    driver.tape.begin_with(path, driver)
    eye = run(driver, 1)
    assert eye.messages[-1]["values"]["recording"] == "from-elsewhere"
    assert eye.messages[-1]["choices"]["recording"] == [NOTHING, "from-elsewhere"]
    assert positions(eye)[-1].min() >= 5
    run(driver, 1, ("recording", NOTHING))
    assert positions(eye)[-1].max() < 5
    run(driver, 1, ("recording", "from-elsewhere"))
    assert positions(eye)[-1].min() >= 5


def test_what_came_of_a_film_is_told(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(["film: runs/x.mp4"])
    monkeypatch.setattr(driver.tape._films, "news", lambda: next(told, None))  # type: ignore[union-attr]
    assert run(driver, 2).said() == ["film: runs/x.mp4"]


def test_film_without_a_recording_is_refused(driver: Driver) -> None:
    eye = run(driver, 1, ("film", True))
    assert eye.said() == ["film: expected a recording, there is none yet"]


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04"])
def test_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.rollout.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a recorded rollout, got something else"):
        Recording.load(path)


def test_recording_of_another_task_is_refused(driver: Driver, tmp_path: Path) -> None:
    recorder = Recorder("walker-walk", 0.05)
    recorder.add({"qpos": np.zeros(2)})
    recorder.finish().save(tmp_path / "x.rollout.npz")
    with pytest.raises(DataError, match=f"expected a recording of {TASK}, got one of walker-walk"):
        driver.tape.load(tmp_path / "x.rollout.npz")  # type: ignore[union-attr]


def test_words_of_a_recorded_drive_are_shown(tmp_path: Path) -> None:
    """A deadline loop's ladder and guard travel with a recording."""
    path = tmp_path / "x.rollout.npz"
    Recording(
        task=TASK,
        control_dt=0.02,
        arrays={"qpos": np.zeros((2, 2))},
        states={"ladder": ["fresh", "shifted"], "guard": ["ok", "slew"]},
    ).save(path)
    tape = Tape(tmp_path, TASK, 0.02, films=Films(), shapes={"qpos": (2,)})
    tape.load(path)
    message = tape.play({"play": False, "position": 0.0}, 0.0)
    assert (message["ladder"], message["guard"]) == ("fresh", "ok")


def test_imagination_is_decoded_where_time_is_left(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmrobot.view.driving import decoder, states
    from wmrobot.view.driving.imaginer import Imaginer

    monkeypatch.setattr(decoder, "STEPS", 5)
    monkeypatch.setattr(states, "DECISIONS", 10)
    mind = driver.mind
    assert isinstance(mind, LearnedMind)
    learned = states.learn_decoder(mind.model, 1, partial(_envs, TASK), 0)
    assert learned is not None
    driver.use(Imaginer(*learned, driver._clock))
    eye = run(driver, 3, ("ahead", 6))
    shown = [message for message in eye.messages if "imagined_qpos" in message]
    assert shown[0]["imagined_qpos"].shape == (4 + 1, 7, 2)  # the tiny planner keeps 4 elites
    assert shown[0]["imagined_horizon"] == 3
    np.testing.assert_array_equal(shown[0]["imagined_start"], positions(eye)[0])


def _envs(task: str, count: int) -> VectorEnv:
    return VectorEnv(task, count, seed=0, batched=False)


def test_change_that_does_not_go_together_is_not_taken(driver: Driver) -> None:
    control = Control(name="horizon", label="", kind="slider", group="", default=3, low=-9, high=9)
    driver._controls["horizon"] = control
    with pytest.raises(ConfigError, match="horizon: expected at least 1"):
        driver.change("horizon", -1)
    assert driver.values["horizon"] == 3
