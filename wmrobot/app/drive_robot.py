"""`wmrobot drive`: drive a robot in real time with an exported planner, or replay such a drive.

Everything that a robot's computer needs for it is in `wmrobot[drive]`: no Hydra, torch or MuJoCo.
"""

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from wmrobot.app.crew import GUARD, SIMULATION, Crew
from wmrobot.app.output import emit, output_folder
from wmrobot.core.errors import ConfigError

if TYPE_CHECKING:
    from wmrobot.runtime.drive_log import DriveLog
    from wmrobot.runtime.driver import Driver, Goal
    from wmrobot.runtime.flight import Recorder
    from wmrobot.runtime.lateness import Lateness
    from wmrobot.runtime.stages import Stages

EPISODES = 3
MOST_FIFO, ABOVE = 89, 10
"""Who watches the planner has to come before it: on one core a plan would hold up a stop."""
STOPPED_FOR_SAFETY = 1
EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "safety": STOPPED_FOR_SAFETY}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `drive`.

    Attributes:
        bundle: Folder that `wmrobot export` wrote.
        robot: sim starts a simulated robot in a process of its own; udp://host:port drives one that
            `wmrobot.runtime.server` serves.
        seconds: Drive for so long; null until the episodes are over.
        episodes: Drive so many; null takes 3 in simulation, and otherwise no limit.
        seed: Of the planner's noise and of the simulated robot.
        compensate: Plan for the time at which a plan takes effect, not for the one of its reading.
        iterations: At most so many a plan; null takes the bundle's.
        margin_ms: How much earlier than needed a command leaves [ms].
        lockstep: Episodes to drive first in a simulation that waits, to compare returns with.
        empty_loop_s: How long to measure this machine with an empty loop before [s].
        restart: Reset and go on after a stop for safety, instead of ending.
        record: Write a flight recorder's file, for replay.
        out: Folder for report and recording; null takes runs/drive-<task>.
        replay: Recorded drive (flight.mcap) to plan again and compare, instead of driving.
        threads: Threads of onnxruntime.
        cpu: Core to stay on; null leaves it to the system.
        fifo: Priority of SCHED_FIFO to ask for, 1 to 89; 0 asks for none. The guard and a simulated
            robot ask for 10 more.
        sim: Of the simulated robot, for instance sim.obs_delay_ms=20 sim.loss=0.01.
        guard: Of the guard, see its own --help: python -m wmrobot.runtime.guard --help.
    """

    bundle: str | None = None
    robot: str = "sim"
    seconds: float | None = None
    episodes: int | None = None
    seed: int = 0
    compensate: bool = True
    iterations: int | None = None
    margin_ms: float = 1.0
    lockstep: int = EPISODES
    empty_loop_s: float = 4.0
    restart: bool = False
    record: bool = True
    out: str | None = None
    replay: str | None = None
    threads: int = 1
    cpu: int | None = None
    fifo: int = 10
    sim: Mapping[str, str] = field(default_factory=dict)
    guard: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("seconds", "episodes", "iterations"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: expected more than 0, got {value}")
        for name in ("seed", "margin_ms", "lockstep", "empty_loop_s", "fifo"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if self.threads < 1:
            raise ConfigError(f"threads: expected at least 1, got {self.threads}")
        if self.fifo > MOST_FIFO:
            raise ConfigError(f"fifo: expected 0 to {MOST_FIFO}, got {self.fifo}")
        if self.sim and self.robot != "sim":
            raise ConfigError("sim: expected robot=sim with it; hardware is what it is")
        find_address(self.robot)


def find_address(robot: str) -> tuple[str, int] | None:
    """Where a robot listens; None for a simulated one.

    Raises:
        ConfigError: It is neither `sim` nor `udp://host:port`.
    """
    if robot == "sim":
        return None
    scheme, _, rest = robot.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "udp" or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"robot: expected sim or udp://host:port, got '{robot}'")
    return host, int(port)


def run(cfg: Config, *, json: bool = False) -> int:
    """Drive, or replay a drive."""
    if cfg.replay is not None:
        from wmrobot.app.drive_replay import run_replay

        return run_replay(cfg, json=json)
    if cfg.bundle is None:
        raise ConfigError("bundle: expected a folder, got none; wmrobot export writes one")
    import wmrobot.runtime.wire  # noqa: F401 - says at once what is not installed
    from wmrobot.app.drive_report import make_document, tell, write_page
    from wmrobot.runtime.stages import Stages

    stages = Stages.load(cfg.bundle, threads=cfg.threads)
    name = stages.description.task.rpartition("/")[2].replace(":", "-")
    out = output_folder("out", cfg.out or f"runs/drive-{name}")
    drive = Drive(cfg, stages, out)
    try:
        drive.run()
    finally:
        if drive.driver is not None:
            document = make_document(drive)
            page = write_page(out, document, drive.driver.log)
            if json:
                emit(document)
            else:
                tell(document, page)
    return EXIT_CODES.get(drive.why_over, 0)


class Drive:
    """One drive with all that belongs to it.

    Args:
        cfg: Settings.
        stages: Of the planner.
        out: Folder for what is recorded.
    """

    def __init__(self, cfg: Config, stages: "Stages", out: Path) -> None:
        self.cfg, self.stages, self.out = cfg, stages, out
        self.empty_loop: Lateness | None = None
        self.lockstep: Driver | None = None
        self.driver: Driver | None = None
        self.recording: Mapping[str, Any] | None = None
        self.remarks: list[str] = []

    @property
    def why_over(self) -> str:
        """What ended the drive."""
        return "error" if self.driver is None else self.driver.why_over or "error"

    def run(self) -> None:
        """Measure the machine, drive in lock-step, drive."""
        from wmrobot.runtime.lateness import measure_empty_loop

        if self.cfg.empty_loop_s:
            with self._quiet():
                control_dt = self.stages.description.control_dt
                self.empty_loop = measure_empty_loop(control_dt, self.cfg.empty_loop_s)
        if self.cfg.robot == "sim" and self.cfg.lockstep:
            self._drive_in_lockstep()
        with Crew() as crew:
            robot = find_address(self.cfg.robot) or crew.start(
                SIMULATION, self._simulation(lockstep=False)
            )
            told = {"robot": f"{robot[0]}:{robot[1]}", "bundle": self.cfg.bundle, "port": 0}
            guard = crew.start(GUARD, {**told, "fifo": self._above, **self.cfg.guard})
            try:
                self._drive(guard)
            finally:
                crew.dismiss()
                for module in (SIMULATION, GUARD):
                    self.remarks += [f"{module}: {line}" for line in crew.said(module)]

    @property
    def _above(self) -> int:
        """Priority of who watches the planner."""
        return self.cfg.fifo + ABOVE if self.cfg.fifo else 0

    def _simulation(self, *, lockstep: bool) -> dict[str, object]:
        told: dict[str, object] = {"bundle": self.cfg.bundle, "port": 0, "lockstep": lockstep}
        told |= {"seed": self.cfg.seed, "fifo": 0 if lockstep else self._above}
        return {**told, **({} if lockstep else self.cfg.sim)}

    def _drive_in_lockstep(self) -> None:
        """The same episodes, in a simulation that waits: what planning alone is worth."""
        from wmrobot.runtime.drive_log import DriveLog
        from wmrobot.runtime.driver import Goal

        with Crew() as crew:
            address = crew.start(SIMULATION, self._simulation(lockstep=True))
            self.lockstep = self._make_driver(address, DriveLog(), lockstep=True)
            with until_signal(self.lockstep):
                self.lockstep.run(Goal(episodes=self.cfg.lockstep, seed=self.cfg.seed))
        if self.lockstep.why_over in EXIT_CODES:
            raise KeyboardInterrupt

    def _drive(self, guard: tuple[str, int]) -> None:
        from wmrobot.app.live import Live
        from wmrobot.runtime.drive_log import DriveLog
        from wmrobot.runtime.flight import Recorder

        log = DriveLog()
        # these threads come first: they are to have no part in the loop's priority
        recorder = Recorder(self.out, self._about()) if self.cfg.record else None
        try:
            with Live(log), self._quiet() as said:
                self.remarks += said
                self.driver = self._make_driver(guard, log, lockstep=False, recorder=recorder)
                with until_signal(self.driver):
                    self.driver.run(self._goal())
        finally:
            if recorder is not None:
                recorder.close()
                told = {"written": recorder.written, "dropped": recorder.dropped}
                self.recording = {"path": str(recorder.path), **told}

    def _quiet(self) -> AbstractContextManager[list[str]]:
        from wmrobot.runtime.quiet import quiet

        return quiet(cpu=self.cfg.cpu, priority=self.cfg.fifo)

    def _make_driver(
        self,
        address: tuple[str, int],
        log: "DriveLog",
        *,
        lockstep: bool,
        recorder: "Recorder | None" = None,
    ) -> "Driver":
        from wmrobot.runtime.deadline import DeadlineConfig, DeadlinePlanner
        from wmrobot.runtime.driver import Driver

        how = DeadlineConfig(
            compensate=self.cfg.compensate,
            lockstep=lockstep,
            iterations=self.cfg.iterations,
            margin_ns=int(self.cfg.margin_ms * 1e6),
            seed=self.cfg.seed,
        )
        planner = DeadlinePlanner(self.stages, how, time.monotonic_ns)
        planner.rehearse()
        return Driver(address, planner, log, recorder)

    def _goal(self) -> "Goal":
        from wmrobot.runtime.driver import Goal

        episodes = self.cfg.episodes
        if episodes is None and self.cfg.seconds is None and self.cfg.robot == "sim":
            episodes = EPISODES
        return Goal(
            seconds=self.cfg.seconds,
            episodes=episodes,
            seed=self.cfg.seed,
            restart=self.cfg.restart,
        )

    def _about(self) -> dict[str, str]:
        from wmrobot.app.drive_replay import describe_bundle

        assert self.cfg.bundle is not None
        return {**describe_bundle(Path(self.cfg.bundle)), "task": self.stages.description.task}


@contextmanager
def until_signal(driver: "Driver") -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a drive in order: robot stopped, report written."""

    def ask(number: int, frame: FrameType | None) -> None:
        driver.ask_to_end(signal.Signals(number).name)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stderr.flush()
