"""Whether a window slows a drive: `python benchmarks/drive_view.py <bundle> [--fifo 10]`.

Drives without a window, with one that nobody looks at, and with one that a client looks at. The
cases take turns, so that a busy minute of the machine hits all of them. Prints one JSON document:
ticks without a fresh plan, and exact percentiles of the time from a reading's arrival to its
command, of which the first second of each drive is left out. Run it on an idle machine; `load` says
whether it was.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.view import clients
from wmrobot.core.machine import describe_machine
from wmrobot.runtime.driving.flight import read_flight

CASES = {"no window": None, "nobody looks": (), "a client": ("reads",)}
LINK = re.compile(r"http://\S+/")
PERCENTILES = (50, 99, 99.9)
WARM_UP = 50  # decisions


def drive(
    bundle: str, manners: tuple[str, ...] | None, words: list[str]
) -> tuple[dict[str, Any], np.ndarray]:
    """Report of one drive, and (T,) times of its decisions [ms]."""
    with tempfile.TemporaryDirectory() as out:
        more = [] if manners is None else ["view=true", "port=18600"]
        process = subprocess.Popen(
            [sys.executable, "-m", "wmrobot", "drive", f"bundle={bundle}", f"out={out}", *words,
             *more, "lockstep=0", "empty_loop_s=0", "restart=true", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        link = None
        while manners is not None and link is None:
            if not (line := process.stderr.readline()):
                raise SystemExit("error: the drive ended before it opened its window")
            link = LINK.search(line)
        with clients(link[0] if link else "", manners or ()):
            text, _ = process.communicate()
        report: dict[str, Any] = json.loads(text)
        _, rows = read_flight(Path(report["recording"]["path"]))
        taken = [row["taken_ms"]["total"] for row in rows if row["phase"] == "RUNNING"]
    return report, np.array(taken[WARM_UP:])


def main() -> None:
    """Measure every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fifo", type=int, default=10)
    given = parser.parse_args()
    loads, found = [os.getloadavg()[0]], {name: ([], []) for name in CASES}  # type: ignore[var-annotated]
    for _ in range(given.rounds):
        for name, manners in CASES.items():
            words = [f"seconds={given.seconds}", f"fifo={given.fifo}"]
            report, taken = drive(given.bundle, manners, words)
            found[name][0].append(report)
            found[name][1].append(taken)
            loads.append(os.getloadavg()[0])
            missed = f"{report['ticks']['missed']} of {report['ticks']['total']}"
            print(
                f"{name}: {missed} missed, p99 {np.percentile(taken, 99):.2f} ms", file=sys.stderr
            )
    print(json.dumps(summarize(given, loads, found), indent=2))


def summarize(given: argparse.Namespace, loads: list[float], found: Any) -> dict[str, Any]:
    """The document."""
    cases = {}
    for name, (reports, times) in found.items():
        taken = np.concatenate(times)
        returns = [each for r in reports for each in r["returns"]["real_time"]["each"]]
        windows = [r["window"] for r in reports if r["window"] is not None]
        cases[name] = {
            "missed": sum(r["ticks"]["missed"] for r in reports),
            "ticks": sum(r["ticks"]["total"] for r in reports),
            "decision_ms": {f"p{q:g}": float(np.percentile(taken, q)) for q in PERCENTILES}
            | {"max": float(taken.max())},
            "return": float(np.mean(returns)),
            "episodes": len(returns),
            "not_shown": sum(w["not_shown"] for w in windows),
        }
    names = ("numpy", "onnxruntime", "mujoco", "viser", "mjviser")
    return {
        "bundle": Path(given.bundle).name,
        "fifo": given.fifo,
        "seconds": given.seconds,
        "rounds": given.rounds,
        "machine": describe_machine(),
        "load": [round(load, 2) for load in loads],
        "versions": {name: version(name) for name in names},
        "cases": cases,
    }


if __name__ == "__main__":
    main()
