"""What a drive's window is told, and what it tells; recorded drives, scrubbed through."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.panes import Pane
from tests.test_drive import decision, reading
from wmrobot.app.cli import main
from wmrobot.app.driving.live import Live
from wmrobot.app.viewing.scenes import find_scene
from wmrobot.core.errors import DataError
from wmrobot.runtime.driving import flight
from wmrobot.runtime.driving.deadline import Decision
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.driving.flight import Recorder
from wmrobot.runtime.robot import Outcome, Phase, Reading, Rung
from wmrobot.runtime.wire.messages import Status
from wmrobot.view.controls import Control, Value
from wmrobot.view.drive_layout import live_controls, playback_controls, stages_ms
from wmrobot.view.driving.drive_show import CURVES, DriveShow
from wmrobot.view.hindsight import EARNED, RETURN_STEPS
from wmrobot.view.page.curves import with_holes
from wmrobot.view.recorded.flights import is_flight, load_flight
from wmrobot.view.recorded.playback import Playback
from wmrobot.view.recorded.projector import Projector
from wmrobot.view.recorded.recording import Recording
from wmrobot.view.rungs import Rungs

MS = 1_000_000  # [ns]
DT = 20 * MS
TAKEN = {"encode": MS, "step": 2 * MS, "propose": MS, "refine": 6 * MS, "choose": MS,
         "total": 12 * MS}  # fmt: skip


class Tour:
    """A drive's loop as its window sees it, tick by tick, on a clock of its own."""

    def __init__(self, scene: int | None = 7, **values: Value) -> None:
        self.pane, self.log, self.now = Pane(), DriveLog(), 1_000 * DT
        self.show = DriveShow(self.pane, self.log, values, lambda: self.now)
        self.done: list[str] = []
        actions = {name: lambda name=name: self.done.append(name) for name in ("stop", "episode")}
        self.show.begin(0.02, scene, actions)

    def tick(
        self, number: int, decided: Decision | None = None, *, left_ms: float = 8, **told: Any
    ) -> dict[str, Any] | None:
        """One reading; returns what the window was told, if anything."""
        arrived = self.now
        read = reading(
            sequence=number, decision=number, pose=np.array([0.5, number], np.float32),
            **{"ticks": (number, 0, 0, 0, 0), **told},
        )  # fmt: skip
        if decided is not None:
            decided = replace(decided, taken_ns=TAKEN, due_ns=arrived + 18 * MS)
        self.now = arrived + DT - int(left_ms * MS)
        before = len(self.pane.messages)
        self.show.show(read, decided, arrived)
        self.now = arrived + DT
        return self.pane.messages[-1] if len(self.pane.messages) > before else None


def worth(value: float, lead: int = 1) -> Decision:
    """A fresh plan that expects so much."""
    made = decision(0.25)
    assert made.plan is not None
    plan = made.plan._replace(value=np.array([value], np.float32))
    return replace(made, plan=plan, lead=lead)


def test_window_is_told_what_was_decided() -> None:
    tour = Tour()
    tour.log.status(Status(source="guard", values={"state": "active", "reason": "plans come"}))
    told = tour.tick(3, worth(9.0, lead=2), outcome=Outcome(0.75), ticks=(2, 1, 0, 0, 0))
    assert told is not None
    assert (told["tick"], told["scene"], told["cut"]) == (3, 7, True)
    np.testing.assert_array_equal(told["qpos"], [0.5, 3.0])
    np.testing.assert_array_equal(told["action"], np.array([-0.7], np.float32))
    np.testing.assert_array_equal(told["plan_mean"], np.full((3, 1), 0.25, np.float32))
    assert told["plan_std"].shape == (3, 1)
    assert told["plan_gap"] == 1  # two ticks from the reading, the first of which is running
    assert told["guard"] == "active: plans come"
    assert (told["rungs"], told["ladder"]) == (["FRESH", "FRESH", "SHIFTED"], "SHIFTED")
    assert told["stages_ms"] == {
        "encode": 1.0, "roll forward": 2.0, "prior": 1.0, "search": 7.0, "transport": 1.0,
    }  # fmt: skip
    assert told["deadline_ms"] == 18.0
    facts = told["facts"]
    assert facts["misses"] == "1 of 3 ticks (33.33%) had no fresh plan"
    assert facts["rungs"] == "FRESH 2, SHIFTED 1"
    assert facts["lead"] == "2 ticks, 40 ms"


def test_rewards_meet_the_returns_that_were_expected_of_their_decisions() -> None:
    tour = Tour()
    tour.tick(0, worth(10.0, lead=3), phase=Phase.READY)  # takes effect as the robot starts
    rows = []
    for number in range(6):
        made = None if number == 2 else worth(11.0 + number)
        told = tour.tick(number, made, outcome=Outcome(number / 10))
        assert told is not None
        rows += told.get("curve_rows", np.zeros((0, 5))).tolist()
    found = np.array(rows)
    assert told["curve_names"] == CURVES  # type: ignore[index]
    np.testing.assert_allclose(found[:, 0], 0.02 * np.arange(1, 6))
    np.testing.assert_allclose(found[:, 1], np.arange(1, 6) / 10)
    # decision k ends with reading k + 1, and the plan for it was made at reading k - 1
    np.testing.assert_array_equal(found[:, 2], [10, 11, 12, np.nan, 14])
    np.testing.assert_array_equal(found[[0, 2], 3], [12, 12])


def test_a_lost_reading_breaks_the_curve() -> None:
    tour = Tour()
    tour.tick(1, worth(1.0))
    told = tour.tick(3, worth(1.0), outcome=Outcome(0.5))
    assert told is not None
    rows = told["curve_rows"]
    assert np.isnan(rows[0, 1:]).all()
    assert rows[1, 1] == 0.5


def test_no_time_is_taken_where_none_is_left_but_five_times_a_second() -> None:
    tour = Tour()
    tour.show._cost_ns = 200_000.0
    tour.tick(1, worth(1.0))
    shown = [tour.tick(number, worth(1.0), left_ms=0.2) for number in range(2, 22)]
    assert [number for number, told in enumerate(shown, 2) if told is not None] == [11, 21]
    assert tour.show.skipped == 18
    assert len(shown[-1]["curve_rows"]) == len(shown[-1]["rungs"]) == 10  # type: ignore[index]
    assert tour.tick(22, worth(1.0), left_ms=0.4) is not None
    assert tour.show.shown == 4


def test_an_older_plan_has_no_spread_and_a_hold_has_no_plan() -> None:
    tour = Tour()
    made = worth(1.0)
    told = tour.tick(1, replace(made, plan=None))
    assert told is not None
    assert np.isnan(told["plan_std"]).all()
    np.testing.assert_array_equal(told["plan_mean"], np.full((3, 1), 0.25, np.float32))
    told = tour.tick(2, replace(made, plan=None, command=None))
    assert told is not None
    assert "plan_mean" not in told


def test_a_new_episode_begins_anew_and_keeps_the_ladder() -> None:
    tour = Tour()
    tour.tick(1, worth(1.0))
    assert "cut" not in (tour.tick(2, worth(1.0)) or {})
    told = tour.tick(0, worth(1.0), episode=2, phase=Phase.READY, ticks=(2, 0, 0, 0, 0))
    assert told is not None
    assert told["cut"]
    assert (told["rungs"], told["ladder"]) == (["FRESH", "FRESH"], "")
    assert "curve_rows" not in told


def test_a_robot_without_a_pose_has_curves_only() -> None:
    told = Tour(scene=None).tick(1, worth(1.0))
    assert told is not None
    assert "qpos" not in told


def test_people_can_stop_the_robot_and_turn_the_scene() -> None:
    tour = Tour(follow=False)
    rubbish = [("follow", 3.0), ("pull", [1, 2, 3, 4]), ("nonsense", True), ("refused", 2.0)]
    tour.pane.pressed.extend([*rubbish, ("follow", True), ("episode", True), ("stop", True)])
    told = tour.tick(1, worth(1.0))
    assert told is not None
    assert told["values"] == {"follow": True}
    assert tour.done == ["episode", "stop"]


def test_people_are_heard_while_the_robot_is_silent() -> None:
    tour = Tour(follow=False)
    tour.tick(1, worth(1.0))
    tour.pane.pressed.extend([("episode", True), ("stop", True), ("follow", True)])
    tour.show.idle(10 * MS)  # the next reading is as good as here
    assert tour.done == []
    tour.now += 600 * MS
    tour.show.idle(600 * MS)
    assert tour.done == ["episode", "stop"]
    told = tour.pane.messages[-1]
    assert told == {"facts": {"robot": "silent for 1 s"}, "values": {"follow": True}}
    count = len(tour.pane.messages)
    tour.now += 100 * MS
    tour.show.idle(700 * MS)
    assert len(tour.pane.messages) == count  # told now and then
    tour.pane.is_open = False
    tour.now += 100 * MS
    tour.show.idle(800 * MS)
    assert tour.show.is_gone


def test_a_window_that_dies_is_said_once_and_told_no_more() -> None:
    tour = Tour()
    said: list[str] = []
    tour.show.say = said.append
    tour.tick(1, worth(1.0))
    tour.pane.is_open = False
    for number in range(2, 40):
        tour.tick(number, worth(1.0))
    assert said == ["the window's process has ended; the drive goes on without it"]
    assert len(tour.pane.messages) < 10
    tour.show.end("time")


def test_what_passes_is_said_without_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    with Live(DriveLog()) as live:
        live.say("the window is gone")
    assert capsys.readouterr().err == "the window is gone\n"


def test_stages_add_up_to_the_whole() -> None:
    told = stages_ms({"encode": 1.0, "total": 4.0})
    assert sum(told.values()) == 4.0
    assert told["transport"] == 3.0


def test_strip_of_rungs_is_as_long_as_its_ticks() -> None:
    rungs = Rungs()
    assert rungs.html() == ""
    rungs.add(["FRESH"] * 30 + ["HOLD"] * 10 + ["<b>"])
    html = rungs.html()
    assert "newest 40 ticks" in html
    assert 'title="HOLD" style="width:5.0%' in html
    assert "<b>" not in html


def test_a_curve_has_a_hole_where_nothing_is_known() -> None:
    columns = np.array([[0.0, 1, 2], [np.nan, 5, np.nan]])
    assert with_holes(columns) == ([0, 1, 2], [None, 5, None])


LENGTH = 60


def place(index: int) -> np.ndarray:
    """Where the recorded robot is at a decision."""
    return np.array([index / 10, -index / 20], np.float32)


def record(folder: Path, *, pose: bool = True, **about: str) -> Path:
    """Two episodes, one after the other, with a miss in each and a stop of the guard in the end."""
    told = {"task": "qube2-swingup", "actuators": '["motor"]', "discount": "0.9",
            "control_dt": "0.02", **about}  # fmt: skip
    recorder = Recorder(folder, told)
    fresh = 0
    for index in range(LENGTH):
        number, ready = index % 30, index % 30 == 0
        missed = number == 20
        fresh += not missed
        read: Reading = reading(
            sequence=index, time_ns=10**12 + index * DT + (index >= 30) * 50 * DT,
            episode=1 + index // 30, decision=number, outcome=Outcome(0.5),
            phase=Phase.READY if ready else Phase.RUNNING,
            ticks=(fresh, index + 1 - fresh, 0, 0, 0),
            pose=place(index) if pose else np.zeros(0, np.float32),
        )  # fmt: skip
        made = replace(worth(5.0), taken_ns=TAKEN, due_ns=18 * MS)
        if missed:
            made = replace(made, plan=None)
        guard = ("safe_stop", "the plan is too old") if index == 59 else ("active", "plans come")
        recorder.add(read, made, 0, 8, guard)
    recorder.close({"over": "safety", "guard_at_end": "safe_stop", "guard_reason_at_end": "old"})
    return recorder.path


@pytest.mark.parametrize("has_mcap", [True, False])
def test_a_recorded_drive_comes_back(
    has_mcap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_mcap:
        monkeypatch.setattr(flight, "find_spec", lambda name: None)
    path = record(tmp_path)
    assert is_flight(path)
    found, about = load_flight(path)
    assert (found.task, found.control_dt, found.action_names) == ("qube2-swingup", 0.02, ("motor",))
    assert (about["over"], about["guard_at_end"]) == ("safety", "safe_stop")
    assert len(found) == LENGTH
    np.testing.assert_allclose(found.arrays["qpos"], [place(index) for index in range(LENGTH)])
    np.testing.assert_allclose(found.times[:3], [0.0, 0.02, 0.04])
    assert found.times[30] == pytest.approx(80 * 0.02)  # the reset took a second
    assert found.states["guard"][58:] == ["active: plans come", "safe_stop: the plan is too old"]
    assert [i for i, rung in enumerate(found.states["ladder"]) if rung != "FRESH"] == [20, 50]
    assert np.isnan(found.arrays["plan_mean"][20]).all()
    assert np.isnan(found.arrays["reward"][[0, 30]]).all()
    # 20 rewards of a half, and the expectation after them
    expected = 0.5 * (1 - 0.9**RETURN_STEPS) / 0.1 + 0.9**RETURN_STEPS * 5.0
    earned = found.arrays[EARNED]
    np.testing.assert_allclose(earned[1:2], expected)
    assert np.isnan(earned[[0, 2, 20, 30]]).all()  # no plan was made for what comes 20 later
    assert earned[31] == pytest.approx(expected)


def play(path: Path, seconds: float, *, scene: int | None = 3) -> dict[str, Any]:
    """What is shown at a time of a recording."""
    playback = Playback(load_flight(path)[0], None if scene is None else lambda looks: scene)
    playback.position = seconds
    return playback.play({"play": False, "position": 0.0}, 0.0)


@pytest.mark.parametrize("index", [0, 1, 17, 29, 30, 59])
def test_scrubbing_shows_the_moment(tmp_path: Path, index: int) -> None:
    path = record(tmp_path)
    seconds = (index + 50 * (index >= 30)) * 0.02
    told = play(path, seconds)
    np.testing.assert_allclose(told["qpos"], place(index))
    assert (told["tick"], told["scene"], told["cut"]) == (index, 3, True)
    assert len(told["action"]) == len(told["rungs"]) == index + 1
    assert len(told["curve_rows"]) == index + 1 + (index >= 30)  # a hole between the episodes
    assert told["facts"]["robot"].endswith(f"episode {1 + index // 30}")
    assert told["stages_ms"]["search"] == 7.0
    assert told["ladder"] == "FRESH"
    assert told["guard"] == (
        "safe_stop: the plan is too old" if index == 59 else "active: plans come"
    )


def test_a_pause_between_episodes_takes_its_time(tmp_path: Path) -> None:
    np.testing.assert_allclose(play(record(tmp_path), 1.0)["qpos"], place(29))


def test_playing_goes_on_from_where_it_was(tmp_path: Path) -> None:
    playback = Playback(load_flight(record(tmp_path))[0], lambda looks: 3)
    values: dict[str, Value] = {"play": True, "position": 0.0, "speed": 2.0}
    playback.play(values, 5.0)
    told = playback.play(values, 5.05)  # twice the speed
    assert (told["tick"], told["cut"], values["position"]) == (5, False, 0.1)
    assert told["curve_rows"][:, 0].tolist() == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    playback.position = 59.0
    assert playback.play(values, 5.06)["tick"] == 0  # begins again
    values["play"], playback.position = False, 59.0
    assert playback.play(values, 5.07)["tick"] == 59


def test_what_was_lost_is_a_hole_in_the_curves() -> None:
    arrays = {
        "qpos": np.zeros((6, 2)), "reward": np.arange(6.0),
        "decision": np.array([0, 0, 1, 4, 0, 1]),
        "episode": np.array([1, 1, 1, 1, 2, 2]), "time": np.array([0, 1, 2, 5, 6, 7]) / 10,
    }  # fmt: skip
    playback = Playback(Recording(task="x", control_dt=0.1, arrays=arrays), None)
    values: dict[str, Value] = {"play": False, "position": 0.0}
    playback.position = 0.2
    assert playback.play(values, 0.0)["curve_rows"].tolist() == [[0, 0], [0.1, 1], [0.2, 2]]
    playback.position = 0.5
    told = playback.play(values, 0.0)
    np.testing.assert_array_equal(told["curve_rows"], [[0.5, np.nan], [0.5, 3]])
    assert "episode 1" in told["facts"]["playing"]
    playback.position = 0.7
    told = playback.play(values, 0.0)
    assert told["cut"]
    assert "episode 2" in told["facts"]["playing"]
    assert np.flatnonzero(np.isnan(told["curve_rows"][:, 1])).tolist() == [3, 5]


def test_misses_can_be_found(tmp_path: Path) -> None:
    playback = Playback(load_flight(record(tmp_path))[0], None)
    found = []
    while playback.next_miss():
        found.append(playback.index)
    assert found == [20, 50]
    playback.step(-1)
    assert playback.index == 49
    playback.step(100)
    assert playback.index == 59


def test_recording_without_a_pose_has_curves_only(tmp_path: Path) -> None:
    path = record(tmp_path, pose=False)
    found, _ = load_flight(path)
    assert "qpos" not in found.arrays
    told = play(path, 0.1)
    assert "qpos" not in told
    assert told["curve_rows"].shape[0] == 6
    drawn, why = find_scene("qube2-swingup").judge(0, None)
    assert (drawn, why) == (False, "curves only: the robot tells no pose (see Robot.pose)")


def test_recording_of_an_earlier_version_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_json = flight.to_json
    new = {"pose", "ticks", "std", "guard", "guard_reason"}
    monkeypatch.setattr(
        flight, "to_json", lambda row: {k: v for k, v in to_json(row).items() if k not in new}
    )
    found, _ = load_flight(record(tmp_path))
    assert "qpos" not in found.arrays
    assert (
        found.states["ladder"] == ["FRESH"] * LENGTH
    )  # what was sent, for want of the robot's own
    assert "guard" not in found.states


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"phase": "DANCING"}, "'DANCING'"),
        ({"time_ns": 5}, "times that do not rise"),
        ({"command": [0.1, 0.2]}, "expected decisions of a drive"),
        ({"taken_ms": None}, "expected decisions of a drive"),
        ({"plan": "long"}, "expected decisions of a drive"),
    ],
)
def test_recording_that_makes_no_sense_is_refused(
    row: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_json = flight.to_json
    count = iter(range(LENGTH))
    monkeypatch.setattr(
        flight, "to_json", lambda each: {**to_json(each), **(row if next(count) == 7 else {})}
    )
    path = record(tmp_path)
    with pytest.raises(DataError, match=complaint):
        load_flight(path)


def test_recording_of_one_decision_is_refused(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"task": "x"})
    recorder.add(reading(), worth(1.0), 7, 8)
    recorder.close()
    with pytest.raises(DataError, match="expected decisions of a drive"):
        load_flight(recorder.path)


def test_controls_that_would_do_nothing_are_not_there() -> None:
    def names(controls: tuple[Control, ...]) -> set[str]:
        return {control.name for control in controls}

    always = {"play", "position", "speed", "back", "on"}
    plain = {"follow": False, "drawn": False}
    assert names(playback_controls(1.0, **plain, has_rungs=False)) == always
    assert names(playback_controls(1.0, **plain, has_rungs=True)) == always | {"miss"}
    assert names(live_controls(simulated=False, **plain)) == {"stop"}
    scene = {"follow", "shadows"}
    assert (
        names(live_controls(simulated=True, follow=True, drawn=True)) == {"stop", "episode"} | scene
    )


def test_people_scrub(tmp_path: Path) -> None:
    found, _ = load_flight(record(tmp_path))
    pane, controls = (
        Pane(),
        playback_controls(found.seconds, follow=False, drawn=True, has_rungs=True),
    )

    class Clock:
        time = 0.0

        def now(self) -> float:
            return self.time

        def sleep(self, seconds: float) -> None:
            self.time += seconds

    projector = Projector(
        pane, Playback(found, lambda looks: 1), controls, {"ended by": "x"}, Clock()
    )

    def after(*pressed: tuple[str, Any]) -> dict[str, Any]:
        pane.pressed.extend(pressed)
        left = iter(range(1))
        projector.run(lambda: next(left, None) is not None)
        return pane.messages[-1]

    assert after()["facts"]["ended by"] == "x"
    told = after(("position", 0.2), ("play", False))
    np.testing.assert_allclose(told["qpos"], place(10))
    assert told["values"]["position"] == 0.2
    assert after(("on", True))["tick"] == 11
    assert after(("back", True))["tick"] == 10
    assert after(("miss", True))["facts"]["decision"] == "20"
    assert after(("miss", True), ("miss", True))["tick"] == 50
    said = [message["say"] for message in pane.messages if "say" in message]
    assert said == ["from here on every tick had a fresh plan"]
    assert after(("position", -1.0))["tick"] == 50
    assert "position: expected 0 to" in pane.messages[-2]["say"]


def test_a_scene_fits_its_robot_or_says_why_not() -> None:
    scene = find_scene("qube2-swingup")
    assert scene.model is not None
    assert (scene.follows, scene.note) == (False, "")
    assert scene.judge(2, None) == (True, "")
    assert scene.judge(3, None)[1].startswith("curves only: expected a pose of 2 entries")
    assert scene.judge(2, "0" * 64) == (
        True, "drawn with its task's model as it is here, which is not the robot's own"
    )  # fmt: skip
    gone = find_scene("/nowhere/robot.py:gone")
    assert gone.model is None
    assert gone.judge(2, None)[1].startswith("curves only: its task is not here (")
    assert find_scene("reacher-easy").note.startswith("what a reset moves beside the joints")
    assert find_scene("walker-walk").follows


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["view", "replay=no.mcap"], "no.mcap: expected a recorded drive (flight.mcap), found no"),
        (["view", "walker-walk", "replay=FILE"], "expected a recording of walker-walk, got one of"),
        (["view", "run=r", "replay=FILE"], "run: FILE was driven by a bundle, expected no run="),
        (["drive", "view=true", "replay=FILE"], "view: replay= here makes plans again; to look at"),
        (["drive", "view=true", "port=0"], "port: expected 1 to 65535, got 0"),
    ],
)
def test_recordings_that_do_not_fit_are_one_line(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="needs wmrobot[view]")
    path = str(record(tmp_path))
    assert main([word.replace("FILE", path) for word in words]) == 2
    told = capsys.readouterr().err
    assert complaint.replace("FILE", path) in told
    assert told.count("\n") == 1


def test_rollout_without_times_is_even() -> None:
    rollout = Recording(task="x", control_dt=0.5, arrays={"qpos": np.zeros((4, 2))})
    assert rollout.times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert rollout.seconds == 2.0
    assert Rung.FRESH.name == "FRESH"
