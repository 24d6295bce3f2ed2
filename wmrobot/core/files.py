"""Files that last: written aside, synced and renamed, every byte hashed.

A *sealed* folder carries `manifest.json` with the SHA-256 of every file in it.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wmrobot.core.errors import CheckpointError, ConfigError, DamagedError

MANIFEST = "manifest.json"
REPLACED = ".replaced"
"""Ends the name of a folder while `replace_folder` puts another in its place."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # some network filesystems, of folders


def user_path(text: str | Path) -> Path:
    """A path as people write it, with `~` for a home.

    Raises:
        ConfigError: The home is that of nobody here.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: expected the home of a user of this machine after ~") from None


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
    write_aside(path, data)
    sync_folder(path.parent)


def write_aside(path: Path, data: bytes) -> None:
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
    write_atomic(path, dump_json(value))


def dump_json(value: object) -> bytes:
    """A value as a JSON file holds it; numbers that are not finite are refused."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is a `CheckpointError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected JSON, got something else ({error})") from None


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
            raise DamagedError(f"{path}: listed in the manifest, but missing; use another one")
        if sha256(path) != expected:
            raise DamagedError(
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
    if not is_whole or path.read_bytes() != dump_json(manifest):
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
