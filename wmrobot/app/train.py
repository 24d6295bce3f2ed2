"""`wmrobot train`: learn a world model of a task, and to plan in it."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from wmrobot.app.config import load
from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.device import (
    crowding_warning,
    keep_freed_memory,
    pick_device,
    precision_warning,
    set_threads,
)
from wmrobot.app.output import output_folder
from wmrobot.app.run_folder import RUN_FILE, lock_run, provenance
from wmrobot.app.summary import write_summary
from wmrobot.app.training.audience import Audience
from wmrobot.app.training.bar import Bar
from wmrobot.app.training.checkpoint import describe_kept
from wmrobot.app.training.run_file import SUMMARY_FILE, read_settings, write_settings
from wmrobot.app.training.settings import TrainConfig as Config
from wmrobot.app.training.settings import settle_places
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.errors import (
    CheckpointError,
    ConfigError,
    DamagedError,
    DataError,
    ObservationError,
    TaskError,
)
from wmrobot.core.files import read_json, user_path
from wmrobot.core.spec import file_name
from wmrobot.envs.registry import canonical_name, name_of_own
from wmrobot.runtime.process import on_ending

GETTING_READY = "getting ready"
A_DAY = 1e12
"""Parameters times updates of about a day on a CPU: of `base`'s 5M it was measured to make 3 to 8
updates a second on two cores, and a decision takes as long."""


def run(cfg: Config, *, json: bool = False) -> int:
    """Train from settings, or go on with a run; returns 0, or 130 where it was interrupted."""
    finished, folder = train(cfg)
    if not finished:
        print(
            f"stopped and saved; go on with: wmrobot train {quote(f'resume={folder}')}",
            file=sys.stderr,
        )
        return 130
    print(f"done: {folder}\nevaluate it with: wmrobot evaluate {quote(f'run={folder}')}")
    return 0


def settled(cfg: Config) -> Config:
    """What is trained by: where a run goes on, its own settings.

    Raises:
        CheckpointError: There is no such run.
        ConfigError: `extend_to` makes it no longer.
    """
    if cfg.resume is None:
        return cfg
    folder = _folder(cfg)
    return _with_told(read_settings(folder), cfg, folder)


def train(cfg: Config) -> tuple[bool, Path]:
    """Train; returns whether the run is finished, and its folder.

    Raises:
        CheckpointError: The folder holds another run, is in use, or its checkpoint is altered.
    """
    folder = _folder(cfg)
    task = [f"task={cfg.task}"] if cfg.task else []
    if cfg.resume is not None and replace(cfg, extend_to=None) != load(
        Config, [*task, f"resume={cfg.resume}"]
    ):
        raise ConfigError(
            "resume: expected no settings beside it but extend_to, which makes a run longer, and "
            "the task, where its file has moved; the run's own are used"
        )
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
        cfg = _with_told(read_settings(folder), cfg, folder)
    else:
        _refuse_to_overwrite(cfg, folder)
        cfg = settle_places(cfg)
    if not cfg.offline and cfg.steps <= cfg.seed_steps:
        print(
            f"warning: nothing will be learned: all {cfg.steps} decisions (steps) are random ones "
            f"(seed_steps={cfg.seed_steps})",
            file=sys.stderr,
        )
    device = pick_device(cfg.device)
    threads = set_threads(cfg.threads)
    keep_freed_memory()
    made = provenance() | {"device": str(device), "threads": threads}
    if device.type == "cuda":
        made["gpu"] = torch.cuda.get_device_name(device)
    begin = time.perf_counter()
    with _audience(cfg) as audience, ExitStack() as stack:
        with audience.during(GETTING_READY):
            trainer = stack.enter_context(closing(Trainer(cfg, folder, device, made, audience)))
            _get_ready(trainer, made, resumed=resumed)
        return _run(trainer, threads, begin)


@contextmanager
def _audience(cfg: Config) -> Iterator[Audience]:
    """A window onto the run, where it is asked for."""
    if not cfg.view:
        yield Audience()
        return
    from wmrobot.app.training.window import Watcher

    with Watcher(cfg) as watcher:
        yield watcher


def _get_ready(trainer: Trainer, made: dict[str, Any], *, resumed: bool) -> None:
    """Be at the beginning, or where the run was stopped; its settings are on disk."""
    cfg, folder = trainer.cfg, trainer.run
    if not resumed:
        trainer.begin()
        write_settings(folder, cfg, made)
        return
    _go_on(trainer, folder)
    stored = read_settings(folder)
    if cfg.steps != stored.steps:  # it is longer now
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
    if cfg != stored:
        write_settings(folder, cfg, read_json(folder / RUN_FILE)["made"])


def _run(trainer: Trainer, threads: int, begin: float) -> bool:
    """Until it is finished or stopped."""
    folder = trainer.run
    _say(trainer, folder, trainer.device.type, threads)
    if trainer.counters.settled >= trainer.cfg.steps:
        print("  it is finished already; extend_to= makes it longer", file=sys.stderr)
    try:
        trainer.rehearse()
    except KeyboardInterrupt:
        print(f"stopped; go on with: wmrobot train {quote(f'resume={folder}')}", file=sys.stderr)
        raise
    print(f"  {trainer.compilation.told}", file=sys.stderr)
    with _stop_on_signal(trainer), closing(Bar(trainer)) as bar:
        try:
            finished = trainer.loop(bar, bar.learning)
        except (TaskError, ObservationError) as error:
            raise type(error)(
                f"{error} (at decision {trainer.counters.decisions:,}). {describe_kept(folder)}; "
                f"mend the task, then: wmrobot train {quote(f'resume={folder}')}"
            ) from error
    if finished and not (folder / SUMMARY_FILE).exists():
        write_summary(trainer, folder, time.perf_counter() - begin)
    return finished


def _folder(cfg: Config) -> Path:
    if cfg.resume is not None:
        folder = user_path(cfg.resume)
        if not (folder / RUN_FILE).is_file():
            raise CheckpointError(f"{folder}: expected a run to resume, found no {RUN_FILE}")
        return folder
    if cfg.run is not None:
        return user_path(cfg.run)
    name = file_name(canonical_name(cfg.task))
    return Path("runs") / name / f"{datetime.now():%Y%m%d-%H%M%S}-seed{cfg.seed}"


def _with_told(cfg: Config, told: Config, folder: Path) -> Config:
    """Settings of a run that goes on, with what is told anew: its length, where its task lies."""
    if told.task:
        cfg = replace(cfg, task=name_of_own(told.task, cfg.task, folder, "run"))
    if told.extend_to is None:
        return cfg
    if told.extend_to <= cfg.steps:
        raise ConfigError(
            f"extend_to: expected more than the run's steps={cfg.steps}, got {told.extend_to}"
        )
    return replace(cfg, steps=told.extend_to)


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


def _go_on(trainer: Trainer, folder: Path) -> None:
    """From the last checkpoint; from the beginning where the run did not come to its first one."""
    saved = checkpoint_folders(folder)
    if not saved:
        trainer.logs.clear()
        trainer.begin()
        return
    try:
        trainer.resume(saved[-1])
    except DamagedError as error:
        if len(saved) == 1:
            raise
        raise DamagedError(
            f"{error}; or remove {saved[-1]}: then the run goes on from the one before, {saved[-2]}"
        ) from None


def _say(trainer: Trainer, folder: Path, device: str, threads: int) -> None:
    parameters = sum(p.numel() for p in trainer.model.parameters())
    print(
        f"{trainer.card.task.name} ({trainer.cfg.obs}) -> {folder}\n"
        f"  model {parameters / 1e6:.2f}M parameters on {device}, {threads} threads; "
        f"replay {trainer.replay.num_bytes / 1e6:,.1f} MB on {trainer.cfg.replay.storage}",
        file=sys.stderr,
    )
    crowded = crowding_warning(threads) if device == "cpu" else None
    for warning in (precision_warning(trainer.device, trainer.cfg.model.precision), crowded):
        if warning:
            print(warning, file=sys.stderr)
    updates = int(trainer.cfg.steps * trainer.cfg.updates_per_decision)
    if device == "cpu" and parameters * updates > A_DAY:
        print(
            f"warning: {updates:,} updates of so large a model take a day and more on a CPU; "
            "profile=nano learns in minutes, with 0.2M parameters",
            file=sys.stderr,
        )


@contextmanager
def _stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP ask the loop to save and leave; a second one interrupts it."""

    def ask(_: signal.Signals) -> None:
        if trainer.stop_requested:
            raise KeyboardInterrupt
        trainer.stop_requested = True
        with suppress(OSError):  # the terminal may have gone; and print may be busy
            os.write(2, b"\nsaving, then leaving; once more leaves at once\n")

    with on_ending(ask):
        yield
