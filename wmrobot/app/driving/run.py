"""A drive with all that belongs to it: processes, loop, recorder, window."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from wmrobot.app.driving.crew import GUARD, SIMULATION, Crew
from wmrobot.app.driving.live import Live
from wmrobot.app.driving.perturbation import Perturbation
from wmrobot.app.driving.replay import describe_bundle
from wmrobot.app.driving.settings import (
    ABOVE,
    EPISODES,
    EXIT_CODES,
    DriveConfig,
    find_address,
)
from wmrobot.app.driving.window import open_window
from wmrobot.runtime.driving.deadline import DeadlineConfig, DeadlinePlanner
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.driving.driver import Driver, Goal, Onlooker
from wmrobot.runtime.driving.flight import Recorder
from wmrobot.runtime.lateness import Lateness, measure_empty_loop
from wmrobot.runtime.planning.stages import Stages
from wmrobot.runtime.process import on_ending
from wmrobot.runtime.quiet import quiet
from wmrobot.view.hindsight import discount_of

OF_THE_BODY = tuple(field.name for field in fields(Perturbation))
"""Settings of a simulated robot that are no matter of time: they hold in lock-step as well."""


class Drive:
    """One drive with all that belongs to it.

    Args:
        cfg: Settings.
        stages: Of the planner.
        out: Folder for what is recorded.
    """

    def __init__(self, cfg: DriveConfig, stages: Stages, out: Path) -> None:
        self.cfg, self.stages, self.out = cfg, stages, out
        self.empty_loop: Lateness | None = None
        self.lockstep: Driver | None = None
        self.driver: Driver | None = None
        self.recording: Mapping[str, Any] | None = None
        self.window: Mapping[str, Any] | None = None
        self.remarks: list[str] = []

    @property
    def why_over(self) -> str:
        """What ended the drive."""
        newest = self.driver or self.lockstep
        return (newest and newest.why_over) or "error"

    def run(self) -> None:
        """Measure the machine, drive in lock-step, drive."""
        if self.cfg.empty_loop_s:
            with self._quiet():
                control_dt = self.stages.description.control_dt
                self.empty_loop = measure_empty_loop(control_dt, self.cfg.empty_loop_s)
        if self.cfg.robot == "sim" and self.cfg.lockstep:
            self._drive_in_lockstep()
            if self.why_over in EXIT_CODES:
                return
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
        body = {name: value for name, value in self.cfg.sim.items() if name in OF_THE_BODY}
        return {**told, **(body if lockstep else self.cfg.sim)}

    def _drive_in_lockstep(self) -> None:
        """The same episodes, in a simulation that waits: what planning alone is worth."""
        with Crew() as crew:
            address = crew.start(SIMULATION, self._simulation(lockstep=True))
            self.lockstep = self._make_driver(address, DriveLog(), lockstep=True)
            with until_signal(self.lockstep):
                self.lockstep.run(Goal(episodes=self.cfg.lockstep, seed=self.cfg.seed))

    def _drive(self, guard: tuple[str, int]) -> None:
        log, description = DriveLog(), self.stages.description
        with open_window(self.cfg, description, log) as window:
            # these threads come first: they are to have no part in the loop's priority
            recorder = Recorder(self.out, self._about()) if self.cfg.record else None
            try:
                with Live(log) as live, self._quiet() as said:
                    self.remarks += said
                    show = None if window is None else window.show
                    self.driver = self._make_driver(guard, log, recorder=recorder, onlooker=show)
                    if window is not None:
                        window.begin(self.driver, self._say_to(live))
                    with until_signal(self.driver):
                        self.driver.run(self._goal())
            finally:
                if recorder is not None:
                    recorder.close(self._ending(log))
                    told = {"written": recorder.written, "dropped": recorder.dropped}
                    self.recording = {"path": str(recorder.path), **told, "error": recorder.error}
                if window is not None:
                    window.show.end(self.why_over)
                    self.window = window.summary()

    def _say_to(self, live: Live) -> Callable[[str], None]:
        """Tell the person at the terminal now, and once more in the report."""

        def say(line: str) -> None:
            self.remarks.append(line)
            live.say(line)

        return say

    def _quiet(self) -> AbstractContextManager[list[str]]:
        return quiet(cpu=self.cfg.cpu, priority=self.cfg.fifo)

    def _make_driver(
        self,
        address: tuple[str, int],
        log: DriveLog,
        *,
        lockstep: bool = False,
        recorder: Recorder | None = None,
        onlooker: Onlooker | None = None,
    ) -> Driver:
        how = DeadlineConfig(
            compensate=self.cfg.compensate,
            lockstep=lockstep,
            iterations=self.cfg.iterations,
            margin_ns=int(self.cfg.margin_ms * 1e6),
            seed=self.cfg.seed,
        )
        planner = DeadlinePlanner(self.stages, how, time.monotonic_ns)
        planner.rehearse()
        return Driver(address, planner, log, recorder, onlooker)

    def _goal(self) -> Goal:
        episodes = self.cfg.episodes
        is_endless = self.cfg.seconds is not None or self.cfg.robot != "sim" or self.cfg.view
        if episodes is None and not is_endless:
            episodes = EPISODES
        return Goal(
            seconds=self.cfg.seconds,
            episodes=episodes,
            seed=self.cfg.seed,
            restart=self.cfg.restart,
        )

    def _about(self) -> dict[str, str]:
        assert self.cfg.bundle is not None
        told = self.stages.description
        return {
            **describe_bundle(Path(self.cfg.bundle)),
            "task": told.task,
            "robot": self.cfg.robot,
            "control_dt": repr(told.control_dt),
            "actuators": json.dumps([term.name for term in told.actions]),
            "discount": repr(discount_of(told)),
            "mjcf_sha256": str(told.document.get("mjcf_sha256") or ""),
        }

    def _ending(self, log: DriveLog) -> dict[str, str]:
        """What a recording remembers of its end."""
        state, reason = log.guard
        return {"over": self.why_over, "guard_at_end": state, "guard_reason_at_end": reason}


@contextmanager
def until_signal(driver: "Driver") -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a drive in order: robot stopped, report written."""
    with on_ending(lambda each: driver.ask_to_end(each.name)):
        yield
