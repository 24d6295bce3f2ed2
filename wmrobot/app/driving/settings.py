"""Settings of `wmrobot drive`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wmrobot.core.errors import ConfigError

EPISODES = 3
MOST_FIFO, ABOVE = 89, 10
"""Who watches the planner has to come before it: on one core a plan would hold up a stop."""
STOPPED_FOR_SAFETY = 1
EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "safety": STOPPED_FOR_SAFETY}


@dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """Settings of `drive`.

    Attributes:
        bundle: Folder that `wmrobot export` wrote.
        robot: sim starts a simulated robot in a process of its own; udp://host:port drives one that
            `wmrobot.runtime.server` serves.
        seconds: Drive for so long; null until the episodes are over.
        episodes: Drive so many; null takes 3 in simulation, and otherwise, or with view=true, no
            limit.
        seed: Of the planner's noise and of the simulated robot.
        compensate: Plan for the time at which a plan takes effect, not for the one of its reading.
        iterations: At most so many a plan; null takes the bundle's.
        margin_ms: How much earlier than needed a command leaves [ms].
        lockstep: Episodes to drive first in a simulation that waits, to compare returns with.
        empty_loop_s: How long to measure this machine with an empty loop before [s].
        restart: Reset and go on after a stop for safety, instead of ending.
        record: Write a flight recorder's file, for replay and for `wmrobot view replay=`.
        view: Show the drive in a window in the browser, after each command has left.
        port: Where the window listens; where that is taken, the next free port.
        host: Address that the window listens at. Anything but 127.0.0.1 and ::1 lets other machines
            in, who then need nothing but the link to stop the robot.
        open: Open the window's link in this machine's browser.
        out: Folder for report and recording; null takes runs/drive-<task>.
        replay: Recorded drive (flight.mcap) to plan again and compare, instead of driving.
        threads: Threads of onnxruntime.
        cpu: Core to stay on; null leaves it to the system.
        fifo: Priority of SCHED_FIFO to ask for, 1 to 89; 0 asks for none. The guard and a simulated
            robot ask for 10 more.
        sim: Of the simulated robot, for instance sim.obs_delay_ms=20 sim.loss=0.01; all of them:
            python -m wmrobot.app.driving.sim_robot --help.
        guard: Of the guard, for instance guard.limits=limits.json; all of them:
            python -m wmrobot.runtime.guard --help.
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
    view: bool = False
    port: int = 8080
    host: str = "127.0.0.1"
    open: bool = False
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
        if self.cpu is not None and self.cpu < 0:
            raise ConfigError(f"cpu: expected the number of a core, got {self.cpu}")
        if self.threads < 1:
            raise ConfigError(f"threads: expected at least 1, got {self.threads}")
        if self.fifo > MOST_FIFO:
            raise ConfigError(f"fifo: expected 0 to {MOST_FIFO}, got {self.fifo}")
        if not 0 < self.port < 65_536:
            raise ConfigError(f"port: expected 1 to 65535, got {self.port}")
        if self.view and self.replay is not None:
            raise ConfigError(
                "view: replay= here makes plans again; to look at a recorded drive: "
                f"wmrobot view replay={self.replay}"
            )
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
