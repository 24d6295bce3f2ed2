"""`wmrobot drive` from end to end: processes, report, recording, replay, refusals."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import shipped_facts, write
from wmrobot.app.cli import main
from wmrobot.app.drive import Config, run
from wmrobot.app.driving import crew
from wmrobot.app.driving.live import describe
from wmrobot.app.driving.page import page
from wmrobot.app.driving.report import interval
from wmrobot.app.driving.settings import find_address
from wmrobot.app.key_values import load_plain
from wmrobot.core.errors import ConfigError
from wmrobot.runtime.driving import flight
from wmrobot.runtime.driving.deadline import Decision
from wmrobot.runtime.driving.drive_log import DriveLog, Motion, Sample
from wmrobot.runtime.driving.flight import Recorder, read_flight
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.planning.anytime import Start
from wmrobot.runtime.planning.planner import Outputs, Previous
from wmrobot.runtime.process import on_ending
from wmrobot.runtime.quiet import quiet, resident_mib
from wmrobot.runtime.robot import Command, Phase, Reading, Rung
from wmrobot.runtime.wire.stamped import StampedPort

ROOT = Path(__file__).parent.parent
NONE = np.zeros((1, 0, 3, 1), np.float32)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bundel=x"], "no setting named 'bundel'. Did you mean 'bundle'?"),
        (["bundle"], "expected key=value, got 'bundle'"),
        (["seconds=soon"], "seconds: expected a number, got 'soon'"),
        (["episodes=1.5"], "episodes: expected a whole number, got '1.5'"),
        (["record=1"], "record: expected true or false, got '1'"),
        (["seconds=0"], "seconds: expected more than 0, got 0.0"),
        (["seconds=nan"], "seconds: expected more than 0, got nan"),
        (["fifo=90"], "fifo: expected 0 to 89, got 90"),
        (["threads=0"], "threads: expected at least 1, got 0"),
        (["sim=3"], "no setting named 'sim'"),
        (["robot=tcp://here:1"], "robot: expected sim or udp://host:port, got 'tcp://here:1'"),
        (["robot=udp://here"], "robot: expected sim or udp://host:port, got 'udp://here'"),
        (["robot=udp://h:7", "sim.loss=0.1"], "sim: expected robot=sim with it"),
    ],
)
def test_settings_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drive", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1


def test_settings_are_read_without_hydra() -> None:
    words = [
        "bundle=b",
        "seconds=2.5",
        "episodes=null",
        "compensate=false",
        "sim.loss=0.1",
        "cpu=1",
    ]
    cfg = load_plain(Config, words)
    assert (cfg.bundle, cfg.seconds, cfg.episodes, cfg.cpu) == ("b", 2.5, None, 1)
    assert (cfg.compensate, cfg.sim, cfg.guard) == (False, {"loss": "0.1"}, {})
    assert find_address("udp://robot:7000") == ("robot", 7000)
    with pytest.raises(ConfigError, match="bundle: expected a folder"):
        run(Config())


def test_help_tells_what_goes_to_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drive", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: wmrobot drive [key=value ...] [--json]\n")
    assert "\n  sim.<name>= " in text
    assert "\n  guard.<name>= " in text


def test_intervals_of_rare_events() -> None:
    assert interval(0, 0) is None
    low, high = interval(0, 30_000) or (1.0, 0.0)
    assert low == 0.0
    assert 1.2e-4 < high < 1.3e-4  # not the 0 to 0 of a normal approximation
    assert interval(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_motion_is_measured_over_successive_ticks_only() -> None:
    motion = Motion()
    for sequence, action in ((1, 0.0), (2, 0.5), (3, 0.0), (7, 1.0), (8, 1.0)):
        motion.add(sequence, np.array([action], np.float32))
    told = motion.summary(0.1)
    assert told["action_rate_per_s"] == pytest.approx((0.5 + 0.5 + 0.0) / 3 / 0.1)
    assert told["action_jerk_per_s2"] == pytest.approx(1.0 / 0.01)
    assert Motion().summary(0.1) == {"action_rate_per_s": None, "action_jerk_per_s2": None}


def reading(**told: Any) -> Reading:
    told = {"sequence": 1, "time_ns": 5, "phase": Phase.RUNNING, "episode": 1, **told}
    sensors = np.array([0.1, 1 / 3], np.float32)
    return Reading(sensors=sensors, command=np.array([-0.7], np.float32), **told)


def decision(value: float, *, fresh: bool = True) -> Decision:
    mean = np.full((1, 3, 1), value, np.float32)
    one = np.ones(1, np.float32)
    plan = Outputs(mean[:, 0], mean, mean, one, one, np.zeros(1, np.int64), NONE)
    command = Command(sequence=4, made_from=1, when_ns=25, actions=mean[0], rung=Rung.FRESH)
    start = Start(
        state=np.array([[1 / 7]], np.float32),
        committed=np.array([[0.3]], np.float32),
        noise_seed=2**40 + 3,
        previous=Previous(mean, np.ones(1, np.bool_), NONE),
        decisions=2,
    )
    return Decision(
        command=command if fresh else None, start=start, plan=plan if fresh else None,
        iterations=4, lead=1, due_ns=9, taken_ns={"total": 3_000_000},
    )  # fmt: skip


@pytest.mark.parametrize("has_mcap", [True, False])
def test_recordings_tell_every_bit(
    has_mcap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_mcap:
        monkeypatch.setattr(flight, "find_spec", lambda name: None)
    recorder = Recorder(tmp_path, {"bundle": "b"})
    assert recorder.path.suffix == (".mcap" if has_mcap else ".npz")
    for index, value in enumerate(np.linspace(-1, 1, 600)):
        recorder.add(reading(), decision(float(value)), 7, 8)
        while index - recorder.written > 300:
            time.sleep(0.001)
    recorder.add(reading(), decision(0.0, fresh=False), 7, 8)
    recorder.close()
    about, rows = read_flight(recorder.path)
    found = list(rows)
    assert about == {"bundle": "b"}
    assert (len(found), recorder.written, recorder.dropped) == (601, 601, 0)
    row = found[0]
    assert np.float32(row["sensors"][1]) == np.float32(1 / 3)
    assert np.float32(row["state"][0]) == np.float32(1 / 7)
    assert (row["noise_seed"], row["shift"], row["rung"]) == (2**40 + 3, 2, "FRESH")
    np.testing.assert_array_equal(np.array(row["plan"], np.float32), -1.0)
    assert (found[-1]["plan"], found[-1]["rung"]) == (None, "NONE")


def test_recordings_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="found no such file"):
        read_flight(tmp_path / "flight.mcap")
    for name in ("flight.mcap", "flight.npz"):
        (tmp_path / name).write_bytes(b"rubbish" * 100)
        with pytest.raises(RobotError, match="expected a recorded drive, got something else"):
            list(read_flight(tmp_path / name)[1])


def test_a_recording_that_is_cut_off_tells_what_it_has(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"bundle": "b"})
    for _ in range(300):
        recorder.add(reading(), decision(0.5), 7, 8)
    recorder.close({"over": "time"})
    whole = recorder.path.read_bytes()
    recorder.path.write_bytes(whole[: whole.rindex(b"wmrobot") - 50])  # the index and more is lost
    about, rows = read_flight(recorder.path)
    assert about["bundle"] == "b"
    assert len(list(rows)) == 300
    recorder.path.write_bytes(whole[: whole.index(b"bundle") + 20])
    about, rows = read_flight(recorder.path)
    assert about == {"bundle": "b"}
    assert list(rows) == []  # the first chunk is not whole


def test_a_recording_of_a_drive_that_goes_on_can_be_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"bundle": "b"})
    for _ in range(150):
        recorder.add(reading(), decision(0.5), 7, 8)
    while recorder.written < 150:
        time.sleep(0.001)
    about, rows = read_flight(recorder.path)
    assert about == {"bundle": "b"}
    assert 50 < len(list(rows)) <= 150
    recorder.close()


@pytest.mark.parametrize("broken", ["add", "close"])
def test_a_disk_that_is_full_does_not_keep_a_drive_from_its_end(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(flight, "WAITING", 2)
    recorder = Recorder(tmp_path, {})
    monkeypatch.setattr(recorder._file, broken, full)
    for _ in range(10):
        recorder.add(reading(), decision(0.0), 7, 8)
    recorder.close()
    assert recorder.error == "No space left on device"
    assert recorder.written + recorder.dropped == 10


def test_a_full_queue_is_counted_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(flight, "WAITING", 2)
    monkeypatch.setattr(flight, "to_json", lambda row: held.wait() and {"x": 1})
    recorder = Recorder(tmp_path, {})
    for _ in range(10):
        recorder.add(reading(), decision(0.0), 7, 8)
    held.set()
    recorder.close()
    assert recorder.written + recorder.dropped == 10
    assert recorder.dropped >= 7


def test_datagrams_are_stamped_when_they_arrive() -> None:
    def late_ms() -> float:
        """From sending to the stamp of a datagram that is read 30 ms later."""
        one.send(b"x", other.address)
        before = time.monotonic_ns()
        time.sleep(0.03)  # the planner is busy
        while other.receive() is None:
            time.sleep(0.001)
        return (other.arrived_ns - before) / 1e6

    with closing(StampedPort()) as one, closing(StampedPort()) as other:
        # the kernel begins to stamp a moment after it was asked to, and stamps what came before
        # then when it is read
        late_ms()
        assert other.by_kernel == (sys.platform == "linux")
        if other.by_kernel:
            assert late_ms() < 15


def test_what_the_system_refuses_is_said() -> None:
    cores = os.sched_getaffinity(0)
    with quiet(cpu=4095) as said:
        assert len(said) == 1
        assert said[0].startswith("core 4095: refused (")
    assert os.sched_getaffinity(0) == cores
    assert 5 < resident_mib() < 100_000


def test_the_page_stands_alone() -> None:
    log = DriveLog()
    assert describe(log) == "waiting for the robot"
    row = dict.fromkeys(("count", "p50", "p99", "p99_9", "max"), 1.0)
    document = {
        "task": "<cart>", "bundle": "b", "robot": "sim", "over": "time", "seconds": 3.0,
        "machine": {"machine": "m", "kernel": "k"}, "rate_hz": {"robot": 50.0, "plans": 49.0},
        "ticks": {"total": 9, "missed": 1, "share": 1 / 9, "interval": (0.0, 0.4),
                  "by_rung": {"fresh": 8, "hold": 1}},
        "returns": {"real_time": {"mean": 5.0}, "lockstep": None},
        "motion": {"action_rate_per_s": None, "action_jerk_per_s2": None},
        "lateness_ms": {"empty_loop": row, "robot_tick": None}, "planning_ms": {"encode": row},
        "transport_ms": {"reading": row}, "recording": {"path": "flight.mcap"},
        "guard": {"state": "hold", "interventions": {"slew": 2},
                  "transitions": [{"time_ns": 1, "from": "a", "to": "b", "reason": "c"}]},
    }  # fmt: skip
    trace = [Sample(t * 0.1, 5.0, 18.0, 0.5, t != 3) for t in range(20)]
    html = page(document, trace)
    assert "&lt;cart&gt;" in html
    assert html.count("<svg") == 2
    assert "interventions: slew" in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_a_hang_up_is_no_second_request() -> None:
    heard: list[signal.Signals] = []
    with on_ending(heard.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGINT, signal.SIGHUP):
            signal.raise_signal(number)
    assert heard == [signal.SIGHUP, signal.SIGINT]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with on_ending(lambda each: pytest.fail(f"heard {each.name}")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_motors_are_stopped_whoever_asks_and_however_often(number: signal.Signals) -> None:
    code = """
import time
from wmrobot.runtime.process import until_terminated
with until_terminated():
    try:
        print("driving", flush=True)
        time.sleep(60)
    finally:
        print("stopping", flush=True)
        time.sleep(0.3)
        print("stopped", flush=True)
"""
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "driving\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(number)
        assert process.stdout.read() == "stopped\n"
        assert process.wait(10) == 0


def test_a_process_that_does_not_start_says_why() -> None:
    with crew.Crew() as ours, pytest.raises(ConfigError, match="the guard did not start: "):
        ours.start(crew.GUARD, {"robot": "nowhere"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bundle") / "qube2", shipped_facts("qube2-swingup"))


def drive(*words: str, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "wmrobot", "drive", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        **options,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def count_running(recording: Path) -> int:
    """Decisions of a robot that moves, so far."""
    rows = read_flight(recording)[1] if recording.exists() else ()
    return sum(row["phase"] == "RUNNING" for row in rows)


def wait_for(recording: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a drive has gone on for a second."""
    end = time.monotonic() + 60
    while count_running(recording) < 50:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"the drive did not begin: {process.communicate()[1]}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def driven(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("driven")
    words = ("lockstep=1", "empty_loop_s=0.5", "episodes=1", f"out={out}", "--json")
    code, text, errors = finish(drive(f"bundle={bundle}", *words, cwd=out))
    assert (code, errors) == (0, "")
    return out, json.loads(text)


@pytest.mark.slow
def test_a_drive_is_reported(driven: tuple[Path, dict[str, Any]]) -> None:
    out, told = driven
    assert (told["task"], told["over"], told["control_dt"]) == ("qube2-swingup", "episodes", 0.02)
    assert told["ticks"]["total"] == sum(told["ticks"]["by_rung"].values()) == 300
    assert told["ticks"]["missed"] == 300 - told["ticks"]["by_rung"]["fresh"]
    low, high = told["ticks"]["interval"]
    assert low <= told["ticks"]["share"] <= high + 1e-9
    assert told["seconds"] == pytest.approx(6.0, abs=0.05)
    for name in ("empty_loop", "robot_tick", "command_at_robot"):
        row = told["lateness_ms"][name]
        assert 0 <= row["p50"] <= row["p99"] <= row["p99_9"] <= row["max"], name
    stages = told["planning_ms"]
    assert stages["total"]["p50"] > stages["refine"]["p50"] > stages["encode"]["p50"] > 0
    assert told["transport_ms"]["round_trip"]["count"] > 50
    assert told["returns"]["lockstep"]["each"][0] > 150  # of 300
    assert told["returns"]["real_time"]["episodes"] == 1
    assert told["returns"]["real_time"]["untold_rewards"] == 0
    assert told["motion"]["action_rate_per_s"] > 0
    states = [transition["to"] for transition in told["guard"]["transitions"]]
    assert "active" in states
    assert told["recording"]["dropped"] == 0
    assert told["memory_mib"]
    html = (out / "index.html").read_text(encoding="utf-8")
    assert "qube2-swingup, driven in real time" in html


@pytest.mark.slow
def test_a_replay_makes_the_same_plans(
    driven: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, told = driven
    assert main(["drive", f"replay={out / 'flight.mcap'}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"] == told["recording"]["written"]
    assert found["plans"] == found["within"] > 0
    assert found["largest_difference"] == 0.0
    assert found["changed_since"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drive_that_is_interrupted_stops_the_robot_and_reports(
    number: signal.Signals, bundle: Path, tmp_path: Path
) -> None:
    words = ("lockstep=0", "empty_loop_s=0", f"out={tmp_path}", "seconds=60", "--json")
    process = drive(f"bundle={bundle}", *words)
    recording = tmp_path / "flight.mcap"
    wait_for(recording, process)
    process.send_signal(number)
    code, text, errors = finish(process)
    assert (code, errors) == ({signal.SIGINT: 130, signal.SIGTERM: 143}[number], "")
    told = json.loads(text)
    assert told["over"] == number.name
    assert told["guard"]["state"] == "safe_stop"
    assert told["robot_status"]["phase"] == "STOPPED"
    assert (tmp_path / "index.html").exists()
    assert len(list(read_flight(recording)[1])) == told["recording"]["written"] > 0


DRIVER = """
class Driver:
    def angles(self):
        return 0.0, 3.0

    def velocities(self):
        return 0.0, 0.0

    def set_voltage(self, volts):
        with open("volts.txt", "a") as file:
            file.write(f"{volts}\\n")

def open_qube():
    return Driver()
"""


@pytest.mark.slow
def test_the_documents_robot_is_driven(bundle: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    code = text.partition("`my_qube.py`:\n\n```python\n")[2].partition("\n```\n")[0]
    assert 20 < len(code.splitlines()) < 40
    (tmp_path / "my_qube.py").write_text(code.replace("port=7000", "port=0"), encoding="utf-8")
    (tmp_path / "my_driver.py").write_text(DRIVER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    robot = subprocess.Popen(
        [sys.executable, "my_qube.py"], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert robot.stdout is not None
    port = json.loads(robot.stdout.readline())["port"]
    words = ("seconds=1.5", "empty_loop_s=0", f"out={tmp_path}", "--json")
    code_, told, errors = finish(drive(f"bundle={bundle}", f"robot=udp://127.0.0.1:{port}", *words))
    robot.terminate()
    assert (robot.wait(), code_, errors) == (0, 0, "")
    robot.stdout.close()
    assert json.loads(told)["ticks"]["by_rung"]["fresh"] > 10
    volts = [float(line) for line in (tmp_path / "volts.txt").read_text().splitlines()]
    assert 0 < max(map(abs, volts)) <= 6
    assert volts[-1] == 0


@pytest.mark.slow
def test_another_robot_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with crew.Crew() as ours:
        host, port = ours.start(crew.SIMULATION, {"task": "cartpole-swingup", "port": 0})
        words = [f"bundle={bundle}", f"robot=udp://{host}:{port}", "empty_loop_s=0"]
        assert main(["drive", *words, "record=false"]) == 2
    told = capsys.readouterr().err
    assert "joints: the planner was made for ['arm_hinge', 'pole_hinge'], got" in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_a_planner_that_stalls_is_stopped_and_says_so(bundle: Path, tmp_path: Path) -> None:
    words = ("lockstep=0", "empty_loop_s=0", f"out={tmp_path}", "seconds=60", "--json")
    process = drive(f"bundle={bundle}", *words)
    wait_for(tmp_path / "flight.mcap", process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    code, text, errors = finish(process)
    assert (code, errors) == (1, "")
    told = json.loads(text)
    assert told["over"] == "safety"
    assert "safe_stop" in [transition["to"] for transition in told["guard"]["transitions"]]


ALONE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

KNOWN = {"numpy", "onnxruntime", "msgpack", "wmrobot", *sys.stdlib_module_names}

class Only:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, path, target) if name.split(".")[0] in KNOWN else None

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Only()]
from wmrobot.app.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_robots_computer_needs_nothing_else(bundle: Path, tmp_path: Path) -> None:
    with crew.Crew() as ours:
        host, port = ours.start(crew.SIMULATION, {"bundle": bundle, "port": 0})
        words = [f"bundle={bundle}", f"robot=udp://{host}:{port}", "seconds=1.5", "empty_loop_s=0"]
        result = subprocess.run(
            [sys.executable, "-c", ALONE, "drive", *words, f"out={tmp_path}", "--json"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["over"] == "time"
    assert told["ticks"]["total"] > 50
    assert Path(told["recording"]["path"]).name == "flight.npz"
    assert told["returns"]["lockstep"] is None


def test_what_is_not_installed_is_said_at_once(tmp_path: Path) -> None:
    code = ALONE.replace('"msgpack", ', "")
    result = subprocess.run(
        [sys.executable, "-c", code, "drive", "bundle=bundles/none"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: this needs wmrobot[drive] (msgpack is not installed)")
    assert list(tmp_path.iterdir()) == []
