"""Settings of `wmrobot view`."""

from dataclasses import dataclass
from typing import Literal

from wmrobot.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Settings of `view`.

    Attributes:
        task: Task whose shipped controller drives.
        run: Run, checkpoint or controller that drives instead; newer checkpoints of a run are
            taken as they come.
        bundle: Exported planner that drives instead.
        replay: Recorded rollout to begin with. A recorded drive (flight.mcap) is shown alone, and
            so is a rollout where no task, run or bundle is named.
        agent: Who drives at first: trained (the planner), prior, zero or shuffled.
        seed: Of the environment and of the planner's noise.
        port: Where the window listens; where that is taken, the next free port.
        host: Address that it listens at. Anything but 127.0.0.1 and ::1 lets other machines in, who
            then need nothing but the link.
        open: Open the link in this machine's browser.
        out: Folder for recordings and films; null takes runs/view-<task>.
        seconds: Close after so long [s]; null goes on until interrupted.
        device: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes OMP_NUM_THREADS, or every core; 1 leaves the
            others to the window.
        compile: Compile the planner before the robot drives, about a minute the first time and some
            seconds from then on. Settings that are changed in the window run uncompiled.
    """

    task: str | None = None
    run: str | None = None
    bundle: str | None = None
    replay: str | None = None
    agent: Literal["trained", "prior", "zero", "shuffled"] = "trained"
    seed: int = 1
    port: int = 8080
    host: str = "127.0.0.1"
    open: bool = False
    out: str | None = None
    seconds: float | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        named = (self.task, self.run, self.bundle, self.replay)
        if all(name is None for name in named):
            raise ConfigError(
                "view: expected a task, run=<folder>, bundle=<folder> or replay=<file>, got none"
            )
        if self.run is not None and self.bundle is not None:
            raise ConfigError("view: expected run= or bundle=, got both")
        if self.bundle is not None and self.agent != "trained":
            raise ConfigError(f"agent: a bundle holds its planner alone, got {self.agent}")
        if self.bundle is not None and self.compile:
            raise ConfigError("compile: a bundle's planner is compiled already")
        if not 0 < self.port < 65_536:
            raise ConfigError(f"port: expected 1 to 65535, got {self.port}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected at least 0, got {self.seed}")
        if self.seconds is not None and self.seconds <= 0:
            raise ConfigError(f"seconds: expected more than 0, got {self.seconds}")
