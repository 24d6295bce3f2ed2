"""A run on disk: who may write to it, its tables, and its identity.

<run>/run.json            settings, task, versions
<run>/checkpoints/<n>/    newest two, each sealed
<run>/replay/             chunks that checkpoints refer to
<run>/eval.csv train.csv  one row an evaluation, one row every `log_freq` decisions
<run>/tensorboard/
"""

import csv
import io
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wmrobot import __version__
from wmrobot.core.errors import CheckpointError
from wmrobot.core.resources import PACKAGE

RUN_FILE = "run.json"


def lock_run(folder: Path) -> FileLock:
    """Take the run for this process until it ends.

    Raises:
        CheckpointError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"{folder}: in use by another process; wait for it, or choose another run="
        ) from None
    return lock


class Table:
    """A CSV file that only grows, and can be cut back to what a checkpoint saw.

    Args:
        path: File; made with its header where it does not exist.
        columns: Names of the columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)
        if not path.exists():
            self._append([self.columns])

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row; columns that it lacks stay empty."""
        self._append([[_cell(row.get(name, "")) for name in self.columns]])

    @property
    def size(self) -> int:
        """Length [bytes]."""
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Forget every row written after the file had `size` bytes."""
        os.truncate(self.path, size)

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with self.path.open("ab") as file:
            file.write(text.getvalue().encode())


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def provenance() -> dict[str, Any]:
    """Versions, commit and machine, to stand beside every figure."""
    packages = {}
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
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {sys.platform}",
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
