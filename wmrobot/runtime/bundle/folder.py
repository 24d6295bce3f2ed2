"""A bundle on disk, verified before anything in it is used.

A bundle is a folder of plain files with `manifest.json`, which holds the SHA-256 of every other
one. All of it is read once, and what was hashed is what is used. Nothing in it is executed by
Python, nothing unpickled; graphs go to onnxruntime after `check_onnx`.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.document import FILE, read_description
from wmrobot.runtime.bundle.fields import parse_json
from wmrobot.runtime.bundle.onnx_check import check_onnx
from wmrobot.runtime.bundle.signatures import BEGIN, Signature, signatures
from wmrobot.runtime.errors import BundleError

MANIFEST = "manifest.json"
KIND, SCHEMA = "bundle", 1
GOLDEN, PARITY = "golden.npz", "parity.json"
LARGEST = 2 * 2**30  # [bytes] a protobuf message cannot be larger


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle, in memory.

    Attributes:
        folder: Where it lies.
        files: Contents of every file but the manifest.
        description: What its planner was made for.
        signatures: Inputs and outputs of its graphs.
    """

    folder: Path
    files: Mapping[str, bytes]
    description: Description
    signatures: Mapping[str, Signature]

    @classmethod
    def read(
        cls,
        folder: str | Path,
        *,
        expect_joints: Iterable[str] | None = None,
        expect_control_dt: float | None = None,
    ) -> "Bundle":
        """Read and verify a bundle.

        Args:
            folder: Where it lies.
            expect_joints: Joints of the robot, in order; refused where the bundle's differ.
            expect_control_dt: Time between the robot's decisions [s]; likewise.

        Raises:
            BundleError: Missing, altered, inconsistent, of a newer schema, or for another robot.
        """
        where = Path(folder)
        files = _read_files(where, _read_manifest(where))
        _require(files, [FILE], where)
        description = read_description(files[FILE])
        wanted = {name: ports for name, ports in signatures(description).items() if name != BEGIN}
        _require(files, wanted, where)
        for name in files:
            if name.endswith(".onnx"):
                check_onnx(files[name], name)
        _check_graphs(description, wanted)
        description.check_robot(expect_joints, expect_control_dt)
        return cls(folder=where, files=files, description=description, signatures=wanted)


def to_document(ports: Mapping[str, Signature]) -> dict[str, Any]:
    """Signatures as `planner.json` tells them."""
    return {
        name: {
            side: [{"name": p.name, "dtype": p.dtype, "shape": list(p.shape)} for p in told]
            for side, told in zip(("inputs", "outputs"), signature, strict=True)
        }
        for name, signature in ports.items()
        if name != BEGIN
    }


def _read_manifest(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, refused where any byte is not as the exporter writes it."""
    if not folder.is_dir():
        raise BundleError(f"{folder}: expected a bundle, found no such folder")
    path = folder / MANIFEST
    if not path.exists():
        raise BundleError(f"{folder}: expected a bundle with a {MANIFEST}, found none")
    data = _read_file(path)
    manifest = parse_json(data, MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise BundleError(f"{folder}: expected a {KIND}, got something else")
    schema = manifest.get("schema")
    if type(schema) is not int or schema < 1:
        raise BundleError(f"{MANIFEST}: expected a schema from 1, got {schema!r}; use another one")
    if schema > SCHEMA:
        raise BundleError(
            f"{folder}: schema {schema} is newer than this wmrobot reads ({SCHEMA}); update wmrobot"
        )
    hashes = manifest.get("sha256")
    is_whole = set(manifest) == {"kind", "schema", "sha256", "shared_sha256"}
    is_plain = is_whole and manifest["shared_sha256"] == {} and isinstance(hashes, dict)
    if not is_plain or data != (json.dumps(manifest, indent=2) + "\n").encode():
        raise BundleError(f"{MANIFEST}: altered (not as it was written); use another bundle")
    assert isinstance(hashes, dict)
    for name in hashes:
        if Path(name).name != name or name in ("", ".", "..", MANIFEST) or "\\" in name:
            raise BundleError(f"{MANIFEST}: expected names of files in the bundle, got {name!r}")
    return hashes


def _read_files(folder: Path, hashes: Mapping[str, str]) -> dict[str, bytes]:
    for path in sorted(folder.iterdir()):
        if path.name not in hashes and path.name != MANIFEST:
            raise BundleError(f"{path}: not in the bundle's manifest; remove it")
    files = {}
    for name, expected in hashes.items():
        files[name] = data = _read_file(folder / name)
        if hashlib.sha256(data).hexdigest() != expected:
            raise BundleError(
                f"{folder / name}: altered (its SHA-256 is not the manifest's); use another bundle"
            )
    return files


def _read_file(path: Path) -> bytes:
    """Contents of a regular file; a link, which may lead out of the folder, is not followed."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BundleError(
            f"{path}: listed in the manifest, but missing; use another bundle"
        ) from None
    except (OSError, ValueError) as error:  # the latter for names that no file can have
        raise BundleError(f"{path!s:.200}: expected a plain file ({error})") from None
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise BundleError(f"{path}: expected a plain file of at most {LARGEST} bytes")
        return file.read()


def _require(files: Mapping[str, bytes], names: Iterable[str], folder: Path) -> None:
    for name in names:
        if name not in files:
            raise BundleError(f"{folder}: expected {name}, found none; export it again")


def _check_graphs(description: Description, wanted: Mapping[str, Signature]) -> None:
    """Refuse a document whose graphs are not those that its own sizes lead to."""
    told, expected = description.document.get("graphs"), to_document(wanted)
    if told == expected:
        return
    wrong = [n for n in expected if not isinstance(told, dict) or told.get(n) != expected[n]]
    raise BundleError(
        f"{FILE}: graphs: expected what observations, actions and planner lead to, got others "
        f"for {', '.join(wrong) or 'unknown files'}; export it again"
    )
