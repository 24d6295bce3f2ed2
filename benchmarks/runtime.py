"""Size, import time and decision time of a bundle: `python benchmarks/runtime.py <bundle> ...`.

Prints one JSON document. Run it on an idle machine; warm-up is left out.
"""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnxruntime

from wmrobot.app.benchmarking.script import run_script
from wmrobot.core.machine import describe_machine
from wmrobot.runtime import Planner

DECISIONS, LONGEST_S, IMPORTS = 1_000, 20.0, 5


def import_ms() -> float:
    """Median time that `from wmrobot.runtime import Planner` adds to a fresh interpreter."""
    taken = {}
    for code in ("pass", "from wmrobot.runtime import Planner"):
        times = []
        for _ in range(IMPORTS):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append((time.perf_counter() - begin) * 1e3)
        taken[code] = float(np.median(times))
    return taken["from wmrobot.runtime import Planner"] - taken["pass"]


def installed_mib(package: str) -> float:
    """Size of an installed distribution."""
    files = distribution(package).files or []
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 2**20


def decisions_ms(folder: str, threads: int) -> dict[str, float]:
    """Time of `act` on observations of zeros: so many decisions, fewer of a slow planner."""
    planner = Planner.load(folder, threads=threads)
    batch = planner.description.batch or 1
    obs = {
        name: np.zeros((batch, *shape), np.float32 if name == "state" else np.uint8)
        for name, shape in planner.description.obs_shapes.items()
    }
    taken: list[float] = []
    while len(taken) < DECISIONS and sum(taken) < LONGEST_S * 1e3:
        begin = time.perf_counter()
        planner.act(obs)
        taken.append((time.perf_counter() - begin) * 1e3)
    kept = taken[len(taken) // 10 :]
    found = {f"p{q}": float(np.percentile(kept, q)) for q in (50, 95, 99)}
    return {"decisions": len(kept), **found}


def main(folders: list[str]) -> None:
    """Measure every bundle that is named."""
    document = {
        "machine": describe_machine(),
        "load": os.getloadavg()[0],
        "versions": {"numpy": np.__version__, "onnxruntime": onnxruntime.__version__},
        "import_ms": import_ms(),
        "installed_mib": {name: installed_mib(name) for name in ("numpy", "onnxruntime")},
        "bundles": {
            folder: {
                "bytes": sum(path.stat().st_size for path in Path(folder).iterdir()),
                "act_ms": {str(threads): decisions_ms(folder, threads) for threads in (1, 2)},
            }
            for folder in folders
        },
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    run_script(main, __doc__)
