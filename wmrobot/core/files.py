"""Files that last: written aside, synced and renamed, every byte hashed, nothing ever unpickled.

A *tree* is nested dicts with string keys whose leaves are numpy arrays or plain JSON values. It is
stored as one safetensors file (the arrays) and one JSON file (the rest). A *sealed* folder carries
`manifest.json` with the SHA-256 of every file in it, because safetensors itself does not notice a
flipped byte.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from wmrobot.core.errors import CheckpointError

MANIFEST = "manifest.json"
REPLACED = ".replaced"
"""Ends the name of a folder while `replace_folder` puts another in its place."""
Tree = Mapping[str, Any]
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # some network filesystems, of folders


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows which names are in a folder, as far as its filesystem tells."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they last as what is put into it does."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any instant, sees the old one or the new one.

    When it returns, the new one survives a loss of power too.
    """
    _write_aside(path, data)
    sync_folder(path.parent)


def _write_aside(path: Path, data: bytes) -> None:
    """As `write_atomic`, but for the folder, which the caller syncs after several files."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON, atomically."""
    write_atomic(path, _dump(value))


def _dump(value: object) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is a `CheckpointError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected JSON, got something else ({error})") from None


def save_tree(folder: Path, name: str, tree: Tree) -> None:
    """Store a tree as `<name>.safetensors` and `<name>.json` in an existing folder."""
    arrays: dict[str, np.ndarray] = {}

    def strip(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {key: strip(child, f"{path}/{key}") for key, child in node.items()}
        if isinstance(node, np.ndarray):
            arrays[path] = np.asarray(node, order="C")
            return {"@array": path}
        return node.item() if isinstance(node, np.generic) else node

    _write_aside(folder / f"{name}.json", _dump(strip(tree, "")))
    _write_aside(folder / f"{name}.safetensors", dump_arrays(arrays))
    sync_folder(folder)


def load_tree(folder: Path, name: str) -> dict[str, Any]:
    """Read back what `save_tree` stored.

    Raises:
        CheckpointError: A file is missing, truncated or not of this format.
    """
    file = folder / f"{name}.safetensors"
    try:
        arrays = load_arrays(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file") from None
    except SafetensorError as error:
        raise CheckpointError(f"{file}: truncated or not safetensors ({error})") from None

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"@array"}:
                if node["@array"] not in arrays:
                    raise CheckpointError(
                        f"{file}: expected array {node['@array']!r}, which is missing"
                    )
                return arrays[node["@array"]]
            return {key: fill(child) for key, child in node.items()}
        return node

    tree = fill(read_json(folder / f"{name}.json"))
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{folder / name}.json: expected an object, got {type(tree).__name__}"
        )
    return tree


def seal(folder: Path, meta: Mapping[str, object], shared: Mapping[str, str] | None = None) -> None:
    """Write the manifest: `meta`, and the SHA-256 of every file in the folder.

    Args:
        folder: Folder whose files are all written already.
        meta: Plain JSON to keep with the hashes (kind, schema).
        shared: Path relative to the folder -> SHA-256, for files outside it that others share.
    """
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name != MANIFEST]
    hashes = {path.name: sha256(path) for path in files}
    write_json(folder / MANIFEST, {**meta, "sha256": hashes, "shared_sha256": dict(shared or {})})


def unseal(folder: Path, kind: str, schema: int, *, with_shared: bool = False) -> dict[str, Any]:
    """Verify a sealed folder and return its manifest.

    Args:
        folder: Folder to verify.
        kind: What it should hold.
        schema: Newest schema that this code reads.
        with_shared: Verify the shared files outside the folder too.

    Raises:
        CheckpointError: No manifest, another kind, a newer schema, a file missing or altered.
    """
    manifest = _read_manifest(folder, kind, schema)
    hashes = manifest["sha256"] | (manifest["shared_sha256"] if with_shared else {})
    for name, expected in hashes.items():
        path = (folder / name).resolve()
        if not path.is_file():
            raise CheckpointError(f"{path}: listed in the manifest, but missing; use another one")
        if sha256(path) != expected:
            raise CheckpointError(
                f"{path}: altered (its SHA-256 is not the manifest's); use another one"
            )
    return manifest


def _read_manifest(folder: Path, kind: str, schema: int) -> dict[str, Any]:
    """The manifest, refused where any byte of it is not as `seal` writes it."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected a {kind} with a {MANIFEST}, found none")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise CheckpointError(f"{path}: expected an object with a schema; use another one")
    if manifest.get("kind") != kind:
        raise CheckpointError(f"{folder}: expected a {kind}, got a {manifest.get('kind')}")
    if manifest["schema"] > schema:
        raise CheckpointError(
            f"{folder}: schema {manifest['schema']} is newer than this wmrobot reads "
            f"({schema}); update wmrobot"
        )
    hashes = [manifest.get(name) for name in ("sha256", "shared_sha256")]
    is_whole = manifest["schema"] >= 1 and all(isinstance(each, dict) for each in hashes)
    if not is_whole or path.read_bytes() != _dump(manifest):
        raise CheckpointError(f"{path}: altered (not as it was written); use another one")
    return manifest


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder aside, then rename it to `target`; what was there goes after.

    `write` writes by the functions of this module, which sync what they write.

    Two folders cannot change places in one step: where a crash comes between, what was there is
    found beside, under `target`'s name and `REPLACED`.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(target.parent)
    aside.mkdir()
    try:
        write(aside)
        if target.exists():
            old = target.with_name(target.name + REPLACED)
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            aside.rename(target)
            sync_folder(target.parent)  # before the old one is gone
            shutil.rmtree(old)
        else:
            aside.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
