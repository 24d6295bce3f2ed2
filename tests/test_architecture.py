"""The floors of the house: who may import whom, and what must stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "wmrobot"
FLOORS = (
    {"core"},
    {"nn", "envs", "data"},
    {"model", "plan"},
    {"learn", "control"},
    {"export", "view"},
    {"app"},
)
FLOOR = {folder: level for level, folders in enumerate(FLOORS) for folder in folders}
BESIDE = {"runtime"}
HEAVY = {"torch", "mujoco", "dm_control", "hydra", "gymnasium", "pydantic", "matplotlib"}


def imported_modules(path: Path) -> Iterator[str]:
    """Every absolute name that a file imports, wherever in it, type-checking imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_folders(path: Path) -> set[str]:
    """Folders of wmrobot that a file imports from."""
    names = [name.split(".") for name in imported_modules(path)]
    return {name[1] for name in names if name[0] == "wmrobot" and (PACKAGE / name[1]).is_dir()}


def sources(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def room(parts: list[str]) -> str | None:
    """What a dotted name is part of: a folder of a folder, or a file beside such folders."""
    return ".".join(parts[1:3]) if parts[0] == "wmrobot" and len(parts) > 2 else None


def folders() -> list[str]:
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("folder", folders())
def test_every_folder_has_a_floor(folder: str) -> None:
    assert folder in FLOOR.keys() | BESIDE


@pytest.mark.parametrize("folder", sorted(FLOOR))
def test_folder_imports_from_lower_floors_only(folder: str) -> None:
    allowed = {name for name, level in FLOOR.items() if level < FLOOR[folder]} | {folder}
    if FLOOR[folder]:
        allowed |= BESIDE  # what a robot carries has no needs of its own: tasks share its filters
    wrong = {
        str(path.relative_to(PACKAGE)): sorted(extra)
        for path in sources(folder)
        if (extra := imported_folders(path) - allowed)
    }
    assert wrong == {}


@pytest.mark.parametrize("folder", folders())
def test_rooms_of_a_folder_know_each_other_one_way(folder: str) -> None:
    needs: dict[str, set[str]] = {}
    for path in sources(folder):
        own = room(["wmrobot", *path.relative_to(PACKAGE).with_suffix("").parts])
        assert own is not None
        found = {room(name.split(".")) for name in imported_modules(path)} - {own, None}
        needs.setdefault(own, set()).update(name for name in found if name is not None)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(f"rooms that need each other: {' -> '.join(error.args[1])}")


def test_runtime_imports_nothing_of_the_house() -> None:
    allowed = {"numpy", "onnxruntime", "msgpack", "mcap", *sys.stdlib_module_names}
    wrong = {
        path.name: sorted(extra)
        for path in sources("runtime")
        if (
            extra := {
                name
                for name in imported_modules(path)
                if name.split(".")[0] not in allowed and not name.startswith("wmrobot.runtime")
            }
        )
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "module", ["wmrobot", "wmrobot.runtime", "wmrobot.app.cli", "wmrobot.__main__"]
)
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
