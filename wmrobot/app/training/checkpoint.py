"""Checkpoints: a controller, and beside it all that training needs to go on exactly."""

import errno
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from wmrobot.app.controllers import (
    KIND,
    SCHEMA,
    Card,
    checkpoint_folders,
    save_controller,
)
from wmrobot.core.config import flatten
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import (
    MANIFEST,
    make_folder,
    read_json,
    replace_folder,
    seal,
    sha256,
    unseal,
)
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.data.replay import Replay
from wmrobot.model.world_model import WorldModel

TRAINING = "training"
_KEPT = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ReplayChunks:
    """Immutable pieces of replay under `<run>/replay/`: a save costs what was added since the last.

    Args:
        folder: `<run>/replay`.
        replay: What to save.
    """

    def __init__(self, folder: Path, replay: Replay) -> None:
        self.folder, self.replay = folder, replay
        self._saved = np.zeros(replay.num_envs, dtype=np.int64)  # rows written, by environment
        self._chunks: list[dict[str, Any]] = []  # name, end (rows written by each env), hashes

    @contextmanager
    def adding(self) -> Iterator[list[dict[str, Any]]]:
        """Write what is new, piece by piece; hand out every chunk that still holds a stored row.

        Where the body fails, what was new then still is, and leaves no file behind.
        """
        make_folder(self.folder)
        heads, oldest = (a.astype(np.int64) for a in (self.replay.heads, self.replay.oldest))
        if (oldest > self._saved).any():  # a ring went round since: begin anew, without a gap
            kept, since = [], np.zeros_like(self._saved)
        else:
            kept = [c for c in self._chunks if (np.array(c["end"]) > oldest).any()]
            since = self._saved
        files: list[Path] = []
        chunks, total = list(kept), int(heads.sum())  # which grows: no name is given twice
        try:
            for index, rows in enumerate(self.replay.chunks_since(since)):
                name = f"chunk-{total:012d}" + (f"-{index}" if index else "")
                pair = [self.folder / f"{name}.json", self.folder / f"{name}.safetensors"]
                files += pair
                save_tree(self.folder, name, rows)
                hashes = {file.name: sha256(file) for file in pair}
                chunks.append({"name": name, "end": rows["end"].tolist(), "sha256": hashes})
            yield chunks
        except BaseException:
            for file in files:
                file.unlink(missing_ok=True)
            raise
        self._chunks, self._saved = chunks, heads

    def load(self, chunks: list[dict[str, Any]]) -> None:
        """Fill the empty replay from what `adding` told (hashes verified by the caller)."""
        self._chunks = [dict(chunk) for chunk in chunks]
        self.replay.load(load_tree(self.folder, chunk["name"]) for chunk in chunks)
        self._saved = self.replay.heads.astype(np.int64)

    def drop_unused(self, needed: Container[str]) -> None:
        """Delete every file whose name is not needed."""
        for path in self.folder.iterdir():
            if path.name not in needed:
                path.unlink()


def describe_kept(run: Path) -> str:
    """What an error message says of a run's last good checkpoint."""
    saved = checkpoint_folders(run)
    return f"The last good checkpoint is {saved[-1]}" if saved else "No checkpoint was saved yet"


def save_checkpoint(
    run: Path,
    decisions: int,
    model: WorldModel,
    card: Card,
    training: Mapping[str, Any],
    chunks: ReplayChunks,
) -> Path:
    """Write a checkpoint aside, rename it, then let the oldest go. The last good one stays.

    Raises:
        CheckpointError: No space is left; nothing that was there before is lost.
    """
    target = run / "checkpoints" / f"{decisions:09d}"

    def write(folder: Path) -> None:
        save_controller(folder, model, card)
        save_tree(folder, TRAINING, {**training, "chunks": pieces})
        shared = {
            f"../../replay/{file}": digest
            for piece in pieces
            for file, digest in piece["sha256"].items()
        }
        seal(folder, {"kind": KIND, "schema": SCHEMA}, shared)

    try:
        with chunks.adding() as pieces:
            replace_folder(target, write)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CheckpointError(
            f"{target}: no space left while saving, nothing was written. {describe_kept(run)}; "
            f"free some space, then go on with: wmrobot train {quote(f'resume={run}')}"
        ) from None
    _clean(run, chunks)
    return target


def _clean(run: Path, chunks: ReplayChunks) -> None:
    """Delete old checkpoints, what a dead process left half-written, and replay of neither."""
    for aside in (run / "checkpoints").glob(".*.part"):
        shutil.rmtree(aside)
    folders = checkpoint_folders(run)
    for old in folders[:-_KEPT]:
        shutil.rmtree(old)
    manifests = [read_json(folder / MANIFEST) for folder in folders[-_KEPT:]]
    chunks.drop_unused({Path(file).name for each in manifests for file in each["shared_sha256"]})


def read_training(folder: Path) -> dict[str, Any]:
    """Training state of a checkpoint, everything verified, replay included.

    Raises:
        CheckpointError: Missing or altered.
    """
    unseal(folder, KIND, SCHEMA, with_shared=True)
    return load_tree(folder, TRAINING)


def refuse_another(
    folder: Path, what: str, saved: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint whose task, settings or data are not the run's.

    Raises:
        CheckpointError: They differ; the message names the first difference.
    """
    theirs, ours = dict(flatten(saved)), dict(flatten(own))
    for name in dict.fromkeys([*ours, *theirs]):
        if theirs.get(name) != ours.get(name):
            raise CheckpointError(
                f"{folder}: expected a checkpoint of this run's {what}, with "
                f"{name}={ours.get(name)}, got {theirs.get(name)}; put that back as it was, or "
                "start a new run with init="
            )


def refuse_another_device(folder: Path, saved: str | None, own: torch.device) -> None:
    """Refuse a checkpoint from a device of another kind, whose random streams go on only there.

    Args:
        folder: The checkpoint.
        saved: Device that its card tells; None where it tells none.
        own: Device to go on with.

    Raises:
        CheckpointError: They differ.
    """
    if saved is not None and torch.device(saved).type != own.type:
        raise CheckpointError(
            f"{folder}: expected a checkpoint from a device of the kind that this run is on, "
            f"{own.type}, got one from {saved}; resume it on a machine with {saved}, or start a "
            f"new run with init={folder}"
        )
