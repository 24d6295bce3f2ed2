"""Real time, delay and memory of `wmrobot drive`: `python benchmarks/drive.py <case> <bundle> ...`.

Cases: `realtime` (10 minutes a bundle), `delay` (0, 20, 40 and 60 ms added, compensated and not).
Words with a `=` are settings of `wmrobot drive`, the same for all: `delay bundles/qube2 fifo=0`.
Prints one JSON document, and the table on stderr. Run it on an idle machine.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.core.machine import describe_machine, load_average

DELAYS_MS = (0, 20, 40, 60)
MINUTES_COMPARED = (2, 10)


def drive(bundle: str, *words: str) -> dict[str, Any]:
    """Report of one drive."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "wmrobot", "drive", f"bundle={bundle}", f"out={out}"]
        result = subprocess.run([*command, *words, "--json"], stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def realtime(bundle: str, seconds: float, seed: int, words: list[str]) -> dict[str, Any]:
    """No perturbation: misses, return beside lock-step, memory."""
    report = drive(
        bundle, f"seconds={seconds}", "restart=true", "lockstep=10", "empty_loop_s=20",
        f"seed={seed}", *words,
    )  # fmt: skip
    return {**report, "memory_growth_mib": growth(report["memory_mib"])}


def growth(memory: list[list[float]]) -> float | None:
    """Memory at minute 10 minus that at minute 2 [MiB]; None for a drive that was shorter."""
    first, last = (
        [mib for second, mib in memory if second >= 60 * minute - 15][:1]
        for minute in MINUTES_COMPARED
    )
    return round(last[0] - first[0], 2) if first and last else None


def delays(bundle: str, episodes: int, seed: int, words: list[str]) -> list[dict[str, Any]]:
    """Returns with an added delay of what is observed, half of the runs compensated."""
    rows = []
    for delay_ms in DELAYS_MS:
        for compensate in (True, False):
            report = drive(
                bundle, f"episodes={episodes}", "restart=true", "lockstep=0", "empty_loop_s=0",
                f"compensate={str(compensate).lower()}", f"sim.obs_delay_ms={delay_ms}",
                f"seed={seed}", "record=false", *words,
            )  # fmt: skip
            returns = report["returns"]["real_time"]
            each = np.array(returns["each"])
            row = {
                "task": report["task"],
                "delay_ms": delay_ms,
                "compensate": compensate,
                "mean": returns["mean"],
                "sem": float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else None,
                "each": returns["each"],
                "ticks": report["ticks"],
                "iterations": report["iterations"],
                "lead_ticks": report["lead_ticks"],
            }
            rows.append(row)
            tell(row)
    return rows


def tell(row: dict[str, Any]) -> None:
    """One line of the table."""
    mean = "none" if row["mean"] is None else f"{row['mean']:.1f}"
    sem = "" if row["sem"] is None else f" +- {row['sem']:.1f}"
    missed = f"{row['ticks']['missed']} of {row['ticks']['total']}"
    how = "compensated" if row["compensate"] else "not"
    print(
        f"{row['task']:20} {row['delay_ms']:3} ms {how:12} {mean}{sem}, missed {missed}, "
        f"lead {row['lead_ticks']}",
        file=sys.stderr,
    )


def main() -> None:
    """Measure every bundle that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=("realtime", "delay"))
    parser.add_argument("words", nargs="+", metavar="bundle or key=value")
    parser.add_argument("--seconds", type=float, default=610.0)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bundles = [word for word in given.words if "=" not in word]
    words = [word for word in given.words if "=" in word]
    made = circumstances()
    found: list[dict[str, Any]] = []
    for bundle in bundles:
        if given.case == "realtime":
            found.append(realtime(bundle, given.seconds, given.seed, words))
        else:
            found.extend(delays(bundle, given.episodes, given.seed, words))
    print(json.dumps({"case": given.case, "made": made, "found": found}, indent=2))


def circumstances() -> dict[str, Any]:
    """When and where, and how busy the machine was before the first drive."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "load_average": load_average(),
        "command": " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }


if __name__ == "__main__":
    main()
