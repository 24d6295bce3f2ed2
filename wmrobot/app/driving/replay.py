"""`wmrobot drive replay=<file>`: plan a recorded drive again, in lock-step, and compare."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from wmrobot import __version__
from wmrobot.app.output import emit
from wmrobot.core.errors import ConfigError
from wmrobot.runtime.bundle.folder import MANIFEST
from wmrobot.runtime.driving.flight import read_flight
from wmrobot.runtime.driving.replay import BOUND, replay
from wmrobot.runtime.planning.stages import Stages

if TYPE_CHECKING:
    from wmrobot.app.driving.settings import DriveConfig

DIFFERS = 1


def describe_bundle(folder: Path) -> dict[str, str]:
    """What a recording remembers of the planner: which bundle, and who ran it."""
    return {
        "bundle": str(folder.resolve()),
        "manifest_sha256": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        "wmrobot": __version__,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def run_replay(cfg: "DriveConfig", *, json: bool) -> int:
    """Compare; exit code 1 where a plan differs."""
    assert cfg.replay is not None
    about, rows = read_flight(Path(cfg.replay))
    folder = cfg.bundle or about.get("bundle")
    if folder is None:
        raise ConfigError("bundle: expected the folder that drove, the recording names none")
    stages = Stages.load(folder, threads=cfg.threads)
    now = describe_bundle(Path(folder))
    others = [name for name in ("manifest_sha256", "numpy", "onnxruntime")
              if about.get(name) != now[name]]  # fmt: skip
    found = replay(stages, rows)
    document: dict[str, Any] = {
        "verb": "drive",
        "replay": cfg.replay,
        "bundle": str(folder),
        "decisions": found.decisions,
        "plans": found.plans,
        "within": found.within,
        "bound": BOUND,
        "largest_difference": found.largest,
        "changed_since": {name: {"then": about.get(name), "now": now[name]} for name in others},
    }
    if json:
        emit(document)
    else:
        largest = "none" if found.largest is None else f"{found.largest:.1e}"
        print(f"{cfg.replay}: {found.decisions} decisions, {found.plans} fresh plans")
        print(f"made again: {found.within} within {BOUND:g}, largest difference {largest}")
        for name in others:
            print(f"not as recorded: {name} was {about.get(name)}, is {now[name]}")
    return 0 if found.within == found.plans else DIFFERS
