"""The simulated robot's process: `python -m wmrobot.app.driving.sim_robot bundle=FOLDER`.

A MuJoCo simulation that keeps wall-clock time and speaks the wire that hardware would.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from wmrobot.app.driving.perturbation import Perturbation
from wmrobot.core.errors import ConfigError, WmrobotError
from wmrobot.envs.render import choose_backend
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.driving.lockstep import LockstepServer
from wmrobot.runtime.errors import BundleError, RobotError
from wmrobot.runtime.process import Idle, raise_priority, until_terminated
from wmrobot.runtime.server import Server
from wmrobot.runtime.wire.impairment import ImpairedPort, Impairment
from wmrobot.runtime.wire.port import LOOPBACK, Port
from wmrobot.runtime.words import read_words


@dataclass(frozen=True, kw_only=True)
class SimConfig(Impairment, Perturbation):
    """Settings of a simulated robot, of how it differs, and of the network before it.

    Attributes:
        bundle: Folder of a planner's bundle, whose task and model are taken.
        task: Name of a task instead of a bundle.
        seed: Of initial states, perturbations, noise and the network.
        host: Address to listen at.
        port: Number of the UDP port; 0 picks one, which is told on stdout.
        lockstep: Wait for each command instead of keeping time; the network is then unimpaired.
        fifo: Priority of SCHED_FIFO to ask for, 1 to 99; 0 asks for none.
        exit_idle_s: Ends when nobody has been there for so long [s]; 0 for never.
        exit_with_stdin: Ends when stdin is closed, as it is when whoever started this dies.
    """

    bundle: str = ""
    task: str = ""
    seed: int = 0
    host: str = LOOPBACK
    port: int = 0
    lockstep: bool = False
    fifo: int = 20
    exit_idle_s: float = 0.0
    exit_with_stdin: bool = False

    def __post_init__(self) -> None:
        Impairment.__post_init__(self)
        Perturbation.__post_init__(self)
        if bool(self.bundle) == bool(self.task):
            raise ConfigError("simulated robot: expected either bundle=FOLDER or task=NAME")


def run(cfg: SimConfig) -> None:
    """Build the robot and serve it until the process is terminated, or nobody is there.

    Raises:
        BundleError: The bundle was made for another model than the task has here.
    """
    choose_backend()
    from wmrobot.app.driving.sim_body import SimRobot  # imports MuJoCo

    description = Bundle.read(cfg.bundle).description if cfg.bundle else None
    robot = SimRobot(
        cfg.task if description is None else description.task,
        seed=cfg.seed,
        perturbation=cfg,
    )
    with closing(robot), closing(_open_port(cfg)) as port:
        if description is not None:
            made_for = description.document.get("mjcf_sha256")
            if made_for != robot.mjcf_sha256:
                raise BundleError(
                    f"{cfg.bundle}: expected the model of {robot.name} as it is here "
                    f"({robot.mjcf_sha256}), got a planner for {made_for}; export it again"
                )
        server = LockstepServer(robot, port) if cfg.lockstep else Server(robot, port)
        sys.stdout.write(json.dumps({"ready": True, "port": port.address[1]}) + "\n")
        sys.stdout.flush()
        raise_priority(0 if cfg.lockstep else cfg.fifo)
        with until_terminated(exit_with_stdin=cfg.exit_with_stdin):
            server.run(Idle(cfg.exit_idle_s))


def _open_port(cfg: SimConfig) -> Port:
    if cfg.lockstep or not cfg.is_felt:
        return Port(cfg.host, cfg.port)
    return ImpairedPort(cfg, seed=cfg.seed, host=cfg.host, port=cfg.port)


def main(words: Sequence[str] | None = None) -> int:
    """Run a simulated robot; what a user can cure becomes one line on stderr and exit code 2."""
    try:
        run(read_words(SimConfig, sys.argv[1:] if words is None else words))
    except (WmrobotError, RobotError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
