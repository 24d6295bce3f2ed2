"""A run on disk: who may write to it, its tables, and its identity.

<run>/run.json            settings, task, versions
<run>/checkpoints/<n>/    newest two, each sealed
<run>/replay/             chunks that checkpoints refer to
<run>/eval.csv train.csv  one row an evaluation, one row every `log_freq` decisions
<run>/timing.csv          when evaluations and checkpoints were done
<run>/tensorboard/
<run>/wandb.json          id of the run on Weights & Biases, where it is logged there
"""

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wmrobot import __version__
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import make_folder
from wmrobot.core.machine import describe_machine
from wmrobot.core.resources import PACKAGE

RUN_FILE = "run.json"


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Make the folder, and keep every other process out of it.

    The operating system lets go of the lock when the process ends, however it ends.

    Raises:
        CheckpointError: Another process has it, or there is no making such a folder.
    """
    try:
        make_folder(folder)
    except (FileExistsError, NotADirectoryError):
        raise CheckpointError(
            f"{folder}: expected a folder for the run, got a file; choose another run="
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{folder}: expected a folder for the run, but none can be made there "
            f"({error.strerror}); choose another run="
        ) from None
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"{folder}: in use by another process; wait for it, or choose another run="
        ) from None
    try:
        yield
    finally:
        lock.release()


def provenance() -> dict[str, Any]:
    """Versions, commit and machine, to stand beside every figure."""
    packages: dict[str, str | None] = {}
    for name in ("torch", "mujoco", "dm-control", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "wmrobot": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": packages,
        "machine": describe_machine(),
    }


def commit() -> str | None:
    """Commit of the checkout that runs, with `+` where it was changed; None outside a checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(PACKAGE.parent)]
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
