"""The real planner among hostile packets, a million of them: `python benchmarks/flood.py <bundle>`.

Half of them come from the planner's own socket, within its session, after each of its commands;
half from strangers, to guard and robot. Prints one JSON document: returns beside lock-step, ticks
by rung, what the guard dropped. Run it from a checkout, on an idle machine.
"""

import argparse
import itertools
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import wmrobot.app.driving.run
from benchmarks.drive import circumstances
from tests.hostile import from_strangers, from_within
from wmrobot.app.drive import Config
from wmrobot.app.driving.report import make_document
from wmrobot.app.driving.run import Drive
from wmrobot.runtime.driving.driver import Driver
from wmrobot.runtime.planning.stages import Stages
from wmrobot.runtime.robot import Command

HERE = "127.0.0.1"
ROBOT_PORT = 17_311
WARM_UP_S, EPISODE_S = 2.0, 6.0
PACKETS_A_TICK = 200


class HostileDriver(Driver):
    """A planner's process gone wrong: after each command come others that mean no good."""

    def _send_command(self, command: Command) -> None:
        super()._send_command(command)
        if self.robot.lockstep:
            return
        if not hasattr(self, "_evil"):
            actuators = len(self.robot.actuators)
            self._evil = from_within(self._session.number, actuators, seed=0)
        for data in itertools.islice(self._evil, PACKETS_A_TICK):
            self._port.send(data, self._address)


def shout(ports: list[int], count: int, seconds: float) -> None:
    """What strangers do: some packets every 10 ms."""
    packets = zip(from_strangers(0), itertools.cycle(ports), strict=False)
    rounds = int(seconds * 100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        due = time.monotonic()
        for _ in range(rounds):
            for data, port in itertools.islice(packets, count // rounds):
                stranger.sendto(data, (HERE, port))
            due += 0.01
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    """Drive for as long as it takes to send all packets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--packets", type=int, default=1_000_000)
    given = parser.parse_args()
    made = circumstances()
    stages = Stages.load(given.bundle)
    half = given.packets // 2
    seconds = half / PACKETS_A_TICK * stages.description.control_dt
    wmrobot.app.driving.run.Driver = HostileDriver  # type: ignore[misc]
    cfg = Config(
        bundle=given.bundle, seconds=seconds + WARM_UP_S + EPISODE_S, restart=True, lockstep=10,
        record=False, sim={"port": str(ROBOT_PORT)}, guard={"port": str(ROBOT_PORT + 1)},
    )  # fmt: skip
    drive = Drive(cfg, stages, Path(tempfile.mkdtemp()))
    context = multiprocessing.get_context("spawn")
    ports = [ROBOT_PORT, ROBOT_PORT + 1, ROBOT_PORT + 1]
    stranger = context.Process(target=shout, args=(ports, half, seconds), daemon=True)
    stranger.start()
    drive.run()
    stranger.join()
    document: dict[str, Any] = make_document(drive)
    kept = (
        "task", "settings", "machine", "seconds", "ticks", "lateness_ms", "returns", "guard",
        "robot_status", "remarks",
    )  # fmt: skip
    told = {name: document[name] for name in kept}
    packets = {"within": half, "strangers": half}
    print(json.dumps({"case": "flood", "made": made, "packets": packets, **told}, indent=2))


if __name__ == "__main__":
    main()
