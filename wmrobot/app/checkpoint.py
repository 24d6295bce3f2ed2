"""Checkpoints: a controller, and beside it all that training needs to go on exactly."""

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.controllers import (
    KIND,
    SCHEMA,
    Card,
    checkpoint_folders,
    save_controller,
)
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import load_tree, replace_folder, save_tree, seal, sha256, unseal
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
        self._saved = np.zeros(replay.num_envs, dtype=np.int64)
        self._chunks: list[dict[str, Any]] = []  # name, end (rows written by each env), hashes

    def add(self) -> list[dict[str, Any]]:
        """Write what is new; return every chunk that still holds a stored row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        heads = self.replay.heads
        if (heads > self._saved).any():
            name = f"chunk-{int(heads.sum()):012d}"
            save_tree(self.folder, name, self.replay.rows_since(self._saved))
            files = [f"{name}.json", f"{name}.safetensors"]
            self._chunks.append(
                {
                    "name": name,
                    "end": heads.tolist(),
                    "sha256": {file: sha256(self.folder / file) for file in files},
                }
            )
            self._saved = heads
        oldest = self.replay.oldest
        self._chunks = [c for c in self._chunks if (np.array(c["end"]) > oldest).any()]
        return [dict(chunk) for chunk in self._chunks]

    def load(self, chunks: list[dict[str, Any]]) -> None:
        """Fill the empty replay from what `add` returned (hashes verified by the caller)."""
        self._chunks = [dict(chunk) for chunk in chunks]
        self.replay.load(load_tree(self.folder, chunk["name"]) for chunk in chunks)
        self._saved = self.replay.heads

    def drop_unused(self, chunks: list[dict[str, Any]]) -> None:
        """Delete files that none of these chunks needs."""
        needed = {file for chunk in chunks for file in chunk["sha256"]}
        for path in self.folder.iterdir():
            if path.name not in needed:
                path.unlink()


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
    try:
        pieces = chunks.add()

        def write(folder: Path) -> None:
            save_controller(folder, model, card)
            save_tree(folder, TRAINING, {**training, "chunks": pieces})
            shared = {
                f"../../replay/{file}": digest
                for piece in pieces
                for file, digest in piece["sha256"].items()
            }
            seal(folder, {"kind": KIND, "schema": SCHEMA}, shared)

        replace_folder(target, write)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        saved = checkpoint_folders(run)
        kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint yet"
        raise CheckpointError(
            f"{target}: no space left while saving; {kept}. Free some space, then go on with "
            f"wmrobot train resume={run}"
        ) from None
    folders = checkpoint_folders(run)
    for old in folders[:-_KEPT]:
        shutil.rmtree(old)
    needed = [
        piece for folder in folders[-_KEPT:] for piece in load_tree(folder, TRAINING)["chunks"]
    ]
    chunks.drop_unused(needed)
    return target


def read_training(folder: Path) -> dict[str, Any]:
    """Training state of a checkpoint, everything verified, replay included.

    Raises:
        CheckpointError: Missing or altered.
    """
    unseal(folder, KIND, SCHEMA, with_shared=True)
    return load_tree(folder, TRAINING)
