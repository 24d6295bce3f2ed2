"""Settings of `wmrobot demo`."""

import os
import sys
from dataclasses import dataclass
from typing import Literal

from wmrobot.app.compiling import CompileChoice
from wmrobot.control.agents import AgentKind
from wmrobot.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of `demo`.

    Attributes:
        task: Task whose shipped controller drives; without task and run, the whole tour: drive the
            Qube with the shipped controller, train cartpole-swingup, drive what was learned.
        run: Run, checkpoint or controller that drives instead.
        agent: Who drives: trained (the planner), prior (policy prior alone), zero, random, or
            shuffled (the planner, its learned dynamics shuffled).
        episodes: Episodes to drive.
        seed: Of the environment and of the planner's noise; of the training in the tour.
        out: Folder for films and pages; null takes runs/demo (tour) or runs/demo-<task>.
        view: Open MuJoCo's viewer, where there is a display.
        steps: Decisions that the tour trains for; null takes 25,000.
        setup_s: Seconds that installing took, told by make.
        device: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes OMP_NUM_THREADS, or every core.
        compile: Compile the planner, and the tour's training: true, false, or auto, which does
            where a planner would not keep up with its robot, and a C++ compiler is there; of
            trainings see `train`.
    """

    task: str | None = None
    run: str | None = None
    agent: AgentKind = "trained"
    episodes: int = 1
    seed: int = 1
    out: str | None = None
    view: bool = False
    steps: int | None = None
    setup_s: float | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0
    compile: CompileChoice = "auto"

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"episodes: expected at least 1, got {self.episodes}")
        if self.task is not None or self.run is not None:
            if self.steps is not None:
                raise ConfigError("steps: expected no task or run= with it; only the tour trains")
        elif (self.agent, self.episodes, self.view) != ("trained", 1, False):
            raise ConfigError(
                "agent, episodes, view: expected a task or run= with them; the tour has its own"
            )
        on_linux = sys.platform.startswith("linux")
        if self.view and on_linux and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            raise ConfigError(
                "view: expected a display, but neither DISPLAY nor WAYLAND_DISPLAY is set; "
                "leave it out and look at the films that are written"
            )
