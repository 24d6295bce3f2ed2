"""`wmrobot train`: learn a world model of a task, and to plan in it."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from wmrobot.app.config import load
from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.device import keep_freed_memory, pick_device, precision_warning, set_threads
from wmrobot.app.output import output_folder
from wmrobot.app.progress import Progress
from wmrobot.app.run_folder import RUN_FILE, lock_run, provenance
from wmrobot.app.settings import TrainConfig as Config
from wmrobot.app.trainer import Trainer
from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import CheckpointError, ConfigError, DataError
from wmrobot.core.files import read_json, write_json
from wmrobot.envs.registry import canonical_name

if TYPE_CHECKING:
    from wmrobot.app.view_train import Watcher

SCHEMA = 1
SUMMARY_FILE = "summary.json"


def run(cfg: Config, *, json: bool = False) -> int:
    """Train from settings, or go on with a run; returns 0, or 130 where it was interrupted."""
    finished, folder = train(cfg)
    if not finished:
        print(f"stopped and saved; go on with: wmrobot train resume={folder}", file=sys.stderr)
        return 130
    print(f"done: {folder}\nevaluate it with: wmrobot evaluate run={folder}")
    return 0


def train(cfg: Config) -> tuple[bool, Path]:
    """Train; returns whether the run is finished, and its folder.

    Raises:
        CheckpointError: The folder holds another run, is in use, or its checkpoint is altered.
    """
    folder = _folder(cfg)
    if cfg.resume is not None and cfg != load(Config, [f"resume={cfg.resume}"]):
        raise ConfigError("resume: expected no settings beside it; the run's own are used")
    is_new = not folder.exists()
    with lock_run(folder):
        try:
            return _train(cfg, folder), folder
        except BaseException:
            if is_new and not (folder / RUN_FILE).exists():
                shutil.rmtree(folder)  # it never began: leave nothing behind
            raise


def _train(cfg: Config, folder: Path) -> bool:
    """Train in a folder that is ours alone."""
    resumed = cfg.resume is not None
    if resumed:
        cfg = read_settings(folder)
    else:
        _refuse_to_overwrite(cfg, folder)
        cfg = settle_places(cfg)
    device = pick_device(cfg.device)
    threads = set_threads(cfg.threads)
    keep_freed_memory()
    made = provenance() | {"device": str(device), "threads": threads}
    if device.type == "cuda":
        made["gpu"] = torch.cuda.get_device_name(device)
    begin = time.perf_counter()
    with _watching(cfg) as watcher:
        trainer = Trainer(cfg, folder, device, made, watcher)
        return _run(trainer, made, begin, resumed=resumed)


@contextmanager
def _watching(cfg: Config) -> "Iterator[Watcher | None]":
    """A window onto the run, where it is asked for."""
    if not cfg.view:
        yield None
        return
    from wmrobot.app.view_train import Watcher

    with Watcher(cfg) as watcher:
        yield watcher


def _run(trainer: Trainer, made: dict[str, Any], begin: float, *, resumed: bool) -> bool:
    """Begin or go on, until it is finished or stopped."""
    cfg, folder = trainer.cfg, trainer.run
    try:
        if resumed:
            _go_on(trainer, folder)
        else:
            trainer.begin()
            run_file = {"schema": SCHEMA, "settings": to_plain(cfg), "made": made}
            write_json(folder / RUN_FILE, run_file)
        _say(trainer, folder, trainer.device.type, made["threads"])
        trainer.rehearse()
        print(f"  {trainer.compilation.told}", file=sys.stderr)
        with _stop_on_signal(trainer), _bar(trainer) as show:
            finished = trainer.loop(show)
        if finished and not (folder / SUMMARY_FILE).exists():
            _summarise(trainer, folder, time.perf_counter() - begin)
    finally:
        trainer.close()
    return finished


def _folder(cfg: Config) -> Path:
    if cfg.resume is not None:
        folder = Path(cfg.resume).expanduser()
        if not (folder / RUN_FILE).is_file():
            raise CheckpointError(f"{folder}: expected a run to resume, found no {RUN_FILE}")
        return folder
    if cfg.run is not None:
        return Path(cfg.run).expanduser()
    name = canonical_name(cfg.task).rpartition("/")[2].replace(":", "-")
    return Path("runs") / name / f"{datetime.now():%Y%m%d-%H%M%S}-seed{cfg.seed}"


def _refuse_to_overwrite(cfg: Config, folder: Path) -> None:
    if (folder / RUN_FILE).exists():
        raise CheckpointError(
            f"{folder}: holds a run already; go on with resume={folder}, or choose another run="
        )
    if cfg.save_episodes is not None:
        episodes = output_folder("save_episodes", cfg.save_episodes)
        if any(episodes.glob("*.safetensors")):
            raise DataError(
                f"save_episodes: expected a folder without episodes, got {episodes}, which has "
                "some; choose another one"
            )


def settle_places(cfg: Config) -> Config:
    """Settings with every place by its full path: the run goes on from any working directory."""
    changes: dict[str, Any] = {"task": canonical_name(cfg.task)}
    for name in ("data", "save_episodes", "init"):
        value = getattr(cfg, name)
        if value is not None and (name != "init" or Path(value).expanduser().is_dir()):
            changes[name] = str(Path(value).expanduser().resolve())
    return replace(cfg, **changes)


def read_settings(folder: Path) -> Config:
    """Settings that the run was started with.

    Raises:
        CheckpointError: They are malformed, or of a newer schema.
    """
    stored = read_json(folder / RUN_FILE)
    if not isinstance(stored, dict) or not isinstance(stored.get("schema"), int):
        raise CheckpointError(f"{folder / RUN_FILE}: expected an object with a schema, got neither")
    if stored["schema"] > SCHEMA:
        raise CheckpointError(
            f"{folder / RUN_FILE}: schema {stored['schema']} is newer than this wmrobot reads "
            f"({SCHEMA}); update wmrobot"
        )
    try:
        return build(Config, stored.get("settings", {}))
    except ConfigError as error:
        raise CheckpointError(f"{folder / RUN_FILE}: {error}") from None


def _go_on(trainer: Trainer, folder: Path) -> None:
    """From the last checkpoint; from the beginning where the run did not come to its first one."""
    saved = checkpoint_folders(folder)
    if saved:
        trainer.resume(saved[-1])
    else:
        trainer.logs.clear()
        trainer.begin()


def _say(trainer: Trainer, folder: Path, device: str, threads: int) -> None:
    parameters = sum(p.numel() for p in trainer.model.parameters())
    print(
        f"{trainer.card.task.name} ({trainer.cfg.obs}) -> {folder}\n"
        f"  model {parameters / 1e6:.2f}M parameters on {device}, {threads} threads; "
        f"replay {trainer.replay.num_bytes / 1e6:,.1f} MB on {trainer.cfg.replay.storage}",
        file=sys.stderr,
    )
    if warning := precision_warning(trainer.device, trainer.cfg.model.precision):
        print(warning, file=sys.stderr)


@contextmanager
def _stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the loop to save and leave; a second Ctrl-C interrupts at once."""

    def ask(number: int, _: FrameType | None) -> None:
        if trainer.stop_requested:
            raise KeyboardInterrupt
        trainer.stop_requested = True
        os.write(2, b"\nsaving, then leaving; once more leaves at once\n")  # print may be busy

    previous = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Bar:
    """A live line: decisions/s, updates/s, ETA, last return."""

    def __init__(self, trainer: Trainer) -> None:
        self._updates = trainer.counters.updates  # of earlier processes
        self._bar = tqdm(
            total=trainer.cfg.steps,
            initial=trainer.counters.decisions,
            unit=" decisions",
            desc=trainer.card.task.name,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
            dynamic_ncols=True,
        )

    def __call__(self, progress: Progress) -> None:
        busy = max(progress.update_s, 1e-9)
        made = progress.counters.updates - self._updates
        self._bar.set_postfix_str(
            f"{made / busy:.0f} updates/s, return {progress.last_return:.0f}", refresh=False
        )
        self._bar.update(progress.counters.decisions - self._bar.n)

    def close(self) -> None:
        self._bar.close()


@contextmanager
def _bar(trainer: Trainer) -> Iterator[_Bar]:
    bar = _Bar(trainer)
    try:
        yield bar
    finally:
        bar.close()


def _summarise(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Write `summary.json`: what the run came to, and where its time went in this process."""
    progress = trainer.progress
    rows = (folder / "eval.csv").read_text().splitlines()[1:]
    summary: dict[str, Any] = {
        "task": trainer.card.task.name,
        "decisions": trainer.counters.decisions,
        "updates": trainer.counters.updates,
        "episodes": trainer.counters.episodes,
        "last_evaluation": float(rows[-1].split(",")[1]) if rows else None,
        "seconds": round(seconds, 2),
        "collect_s": round(progress.collect_s, 2),
        "update_s": round(progress.update_s, 2),
        "evaluate_s": round(progress.evaluate_s, 2),
        "made": trainer.card.made,
    }
    write_json(folder / SUMMARY_FILE, summary)
