"""Stands in for `wmrobot train` in tests of the launcher: leaves a run's files, learns nothing.

What it does is told by the file `behaviour` beside the runs, by seed: the settings to save, and
whether it `diverges`, `dies` or `waits`. It imports nothing of the house, to start at once.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    run = Path(words.get("resume") or words["run"])
    run.mkdir(parents=True, exist_ok=True)
    seed = int(run.name.partition("-")[2])
    told = json.loads((run.parent.parent / "behaviour").read_text())[str(seed)]
    if "resume" not in words:
        made = {"machine": "abacus", "commit": "0123456789ab"}
        stored = {"schema": 1, "settings": told["settings"], "made": made}
        (run / "run.json").write_text(json.dumps(stored))
    with (run / "begun").open("a") as log:
        log.write(f"{sys.argv[1:]}\n")
    (run / "eval.csv").write_text(f"step,episode_reward\n1000,{100 * seed}\n")
    match told["does"]:
        case "diverges":
            sys.stderr.write("error: losses or weights are not finite after 7 updates\n")
            return 2
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "waits":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
            (run / "waiting").touch()
            time.sleep(60)
    rows = "".join(f"{1000 * i},{100 * (i + seed)}\n" for i in (1, 2, 3))
    (run / "eval.csv").write_text(f"step,episode_reward\n{rows}")
    times = "".join(f"{500 * i},{1000 * i},evaluation,{60 * i}\n" for i in (1, 2, 3))
    (run / "timing.csv").write_text(f"decisions,step,event,wall_clock_s\n{times}")
    (run / "summary.json").write_text(json.dumps({"seconds": 200.0}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
