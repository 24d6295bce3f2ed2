"""Files that last: trees come back exactly, sealed folders notice a byte, crashes lose nothing."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmrobot.core import files
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import (
    MANIFEST,
    make_folder,
    read_json,
    replace_folder,
    seal,
    sha256,
    unseal,
    write_atomic,
    write_json,
)
from wmrobot.core.trees import load_tree, save_tree

TREE: dict[str, Any] = {
    "weights": {
        "a.b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "scalar": np.array(3.5),
    },
    "count": 7,
    "big": 2**127,
    "third": 1 / 3,
    "nothing": None,
    "words": ["x", 1, True],
    "nested": {"flags": np.array([True, False]), "deep": {"bytes": np.arange(3, dtype=np.uint8)}},
    "@array": "a name like the mark of an array",
}


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, tree


def check_equal(a: Any, b: Any) -> None:
    first, second = dict(leaves(a)), dict(leaves(b))
    assert set(first) == set(second)
    for path, value in first.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == second[path].dtype
            assert value.shape == second[path].shape
            np.testing.assert_array_equal(value, second[path])
        else:
            assert value == second[path]


def test_trees_come_back_exactly(tmp_path: Path) -> None:
    save_tree(tmp_path, "state", TREE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "state.safetensors"]
    check_equal(load_tree(tmp_path, "state"), TREE)


def test_loaded_arrays_may_be_written(tmp_path: Path) -> None:
    save_tree(tmp_path, "state", {"a": np.zeros(3)})
    array = load_tree(tmp_path, "state")["a"]
    array[0] = 1
    assert array.tolist() == [1, 0, 0]


def test_arrays_in_any_memory_order_come_back(tmp_path: Path) -> None:
    array = np.arange(12).reshape(3, 4)
    save_tree(tmp_path, "state", {"t": array.T, "part": array[:, 1:3], "one": np.float32(0.1)})
    tree = load_tree(tmp_path, "state")
    np.testing.assert_array_equal(tree["t"], array.T)
    np.testing.assert_array_equal(tree["part"], array[:, 1:3])
    assert tree["one"] == float(np.float32(0.1))


def test_what_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    save_tree(tmp_path, "state", TREE)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError) as error:
        load_tree(tmp_path, "state")
    assert str(error.value) == f"{tmp_path / name}: no such file"


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_arrays_are_refused(tmp_path: Path, kept: int) -> None:
    save_tree(tmp_path, "state", TREE)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"state\.safetensors: truncated or not safetensors"):
        load_tree(tmp_path, "state")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1}x'])
def test_malformed_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.json: expected JSON, got something else \("):
        read_json(path)


def test_a_tree_whose_arrays_are_another_trees_is_refused(tmp_path: Path) -> None:
    save_tree(tmp_path, "a", {"x": np.zeros(2)})
    save_tree(tmp_path, "b", {"y": np.zeros(2)})
    (tmp_path / "b.safetensors").replace(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: expected array '/x', .* missing$"):
        load_tree(tmp_path, "a")


def sealed(folder: Path, schema: int = 1) -> Path:
    folder.mkdir(parents=True)
    save_tree(folder, "state", TREE)
    seal(folder, {"kind": "controller", "schema": schema})
    return folder


def test_a_sealed_folder_opens_and_tells_its_meta(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "c")
    seal(folder, {"kind": "controller", "schema": 1, "note": "x"})
    manifest = unseal(folder, "controller", 1)
    assert manifest["note"] == "x"
    assert set(manifest["sha256"]) == {"state.json", "state.safetensors"}


def test_any_altered_byte_of_any_file_is_noticed(tmp_path: Path) -> None:
    """safetensors itself loads a flipped weight byte without a word."""
    folder = sealed(tmp_path / "c")
    draw = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in draw.choice(len(whole), size=25, replace=False):
            altered = bytearray(whole)
            altered[place] ^= 1 << int(draw.integers(8))
            path.write_bytes(altered)
            with pytest.raises(CheckpointError):
                unseal(folder, "controller", 1)
        path.write_bytes(whole)
    unseal(folder, "controller", 1)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_truncated_and_missing_files_are_noticed(tmp_path: Path, name: str) -> None:
    path = sealed(tmp_path / "c") / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as error:
        unseal(path.parent, "controller", 1)
    assert str(error.value) == (
        f"{path}: altered (its SHA-256 is not the manifest's); use another one"
    )
    path.unlink()
    with pytest.raises(CheckpointError) as error:
        unseal(path.parent, "controller", 1)
    assert str(error.value) == f"{path}: listed in the manifest, but missing; use another one"


def test_a_newer_schema_is_refused_and_an_older_read(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "c", schema=2)
    unseal(folder, "controller", 3)
    with pytest.raises(CheckpointError) as error:
        unseal(folder, "controller", 1)
    assert str(error.value) == (
        f"{folder}: schema 2 is newer than this wmrobot reads (1); update wmrobot"
    )


def test_another_kind_is_refused(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "c")
    with pytest.raises(CheckpointError) as error:
        unseal(folder, "bundle", 1)
    assert str(error.value) == f"{folder}: expected a bundle, got a controller"


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        unseal(tmp_path, "controller", 1)
    assert str(error.value) == (
        f"{tmp_path}: expected a controller with a manifest.json, found none"
    )


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        "text",
        {"kind": "controller"},
        {"kind": "controller", "schema": "1", "sha256": {}, "shared_sha256": {}},
        {"kind": "controller", "schema": 1, "sha256": [], "shared_sha256": {}},
        {"kind": "controller", "schema": 1, "sha256": {}},
        {"kind": "controller", "schema": 1, "sha256": {}, "shared_sha256": []},
    ],
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, manifest: object) -> None:
    write_json(tmp_path / MANIFEST, manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        unseal(tmp_path, "controller", 1)


def test_shared_files_are_verified_where_asked(tmp_path: Path) -> None:
    chunk = tmp_path / "replay" / "chunk"
    chunk.parent.mkdir()
    chunk.write_bytes(b"rows")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    shared = {"../replay/chunk": sha256(chunk)}
    seal(folder, {"kind": "controller", "schema": 1}, shared)
    unseal(folder, "controller", 1, with_shared=True)
    chunk.write_bytes(b"rowz")
    unseal(folder, "controller", 1)
    with pytest.raises(CheckpointError, match=r"chunk: altered"):
        unseal(folder, "controller", 1, with_shared=True)


class Crash(BaseException):
    """As sudden as a kill: nothing catches it."""


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def crash(_: int) -> None:
        raise Crash

    monkeypatch.setattr(files.os, "fsync", crash)
    with pytest.raises(Crash):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "c"
    for text in ("one", "two"):
        replace_folder(target, lambda folder, text=text: write_text(folder / text, text))
        assert [p.name for p in target.iterdir()] == [text]
        assert [p.name for p in tmp_path.iterdir()] == ["c"]


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def test_a_crash_while_filling_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "c"
    replace_folder(target, lambda folder: write_text(folder / "a", "old"))

    def crash(folder: Path) -> None:
        write_text(folder / "a", "new")
        raise Crash

    with pytest.raises(Crash):
        replace_folder(target, crash)
    assert (target / "a").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk, in order: syncs, renames, removals, by name below `tmp_path`."""
    seen: list[str] = []
    fsync, replace, rename, rmtree = os.fsync, Path.replace, Path.rename, shutil.rmtree

    def name(path: object) -> str:
        relative = str(Path(str(path)).relative_to(tmp_path))
        return re.sub(r"\.?([^/]+)\.\d+\.part", r"~\1", relative)

    def synced(descriptor: int) -> None:
        seen.append(f"sync {name(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def moved(path: Path, target: Path) -> Path:
        seen.append(f"{name(path)} -> {name(target)}")
        return (replace if path.is_file() else rename)(path, target)

    def removed(path: Path, **options: bool) -> None:
        if path.exists():
            seen.append(f"remove {name(path)}")
        rmtree(path, **options)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved)
    monkeypatch.setattr(Path, "rename", moved)
    monkeypatch.setattr(files.shutil, "rmtree", removed)
    return seen


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, events: list[str]
) -> None:
    write_atomic(tmp_path / "x", b"1")
    assert events == ["sync ~x", "~x -> x", "sync ."]


def test_a_folder_lasts_before_the_one_that_it_replaces_goes(
    tmp_path: Path, events: list[str]
) -> None:
    def write(folder: Path) -> None:
        save_tree(folder, "s", {"a": np.zeros(2)})
        seal(folder, {"kind": "controller", "schema": 1})

    filled = [
        *("sync ~c/~s.json", "~c/~s.json -> ~c/s.json"),
        *("sync ~c/~s.safetensors", "~c/~s.safetensors -> ~c/s.safetensors", "sync ~c"),
        *("sync ~c/~manifest.json", "~c/~manifest.json -> ~c/manifest.json", "sync ~c"),
    ]
    filled = [event.replace("~c", "r/~c") for event in filled]
    replace_folder(tmp_path / "r" / "c", write)
    assert events == ["sync .", *filled, "r/~c -> r/c", "sync r"]
    events.clear()
    replace_folder(tmp_path / "r" / "c", write)
    put = ["r/c -> r/c.replaced", "r/~c -> r/c", "sync r", "remove r/c.replaced"]
    assert events == [*filled, *put]


def test_folders_that_are_made_last_all_the_way_up(tmp_path: Path, events: list[str]) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert events == ["sync a/b", "sync a", "sync ."]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(events) == 3


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSPC])
def test_a_filesystem_that_cannot_sync_folders_is_no_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", refuse)
    if code == errno.ENOSPC:
        with pytest.raises(OSError, match="No space left"):
            files.sync_folder(tmp_path)
    else:
        files.sync_folder(tmp_path)


def test_what_a_killed_process_left_aside_does_not_disturb(tmp_path: Path) -> None:
    target = tmp_path / "c"
    replace_folder(target, lambda folder: write_text(folder / "a", "old"))
    beside = target.with_name(target.name + files.REPLACED)
    beside.mkdir()
    write_text(beside / "a", "older")
    replace_folder(target, lambda folder: write_text(folder / "a", "new"))
    assert (target / "a").read_text(encoding="utf-8") == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_json_is_written_for_people(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, None]})
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, None]}
