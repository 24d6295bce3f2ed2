"""A wheel built from the sources works from an empty directory, and asks for what is missing."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from wmrobot.core.resources import resource_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
DATA = ("assets", "configs", "tasks")


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(command), cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as for a release: from the source distribution, itself built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    result = call(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture
def venv(wheel: Path, tmp_path: Path) -> Path:
    """Environment with the wheel alone; what it depends on is added by the tests, offline."""
    folder = tmp_path / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install"]
    result = call(*pip, "--no-deps", "--no-index", wheel, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return folder


def site_packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def add_everything(venv: Path) -> None:
    (site_packages(venv) / "dependencies.pth").write_text(str(SITE_PACKAGES), encoding="utf-8")


def add_base(venv: Path) -> None:
    """What the distribution without extras depends on."""
    for pattern in ("numpy*", "onnxruntime*"):
        for path in SITE_PACKAGES.glob(pattern):
            (site_packages(venv) / path.name).symlink_to(path)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def data_files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_carries_tasks_configs_and_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in DATA:
        prefix = f"wmrobot/_data/{name}/"
        packed = {path.removeprefix(prefix) for path in names if path.startswith(prefix)}
        assert packed == data_files(resource_folder(name))
    assert "wmrobot/py.typed" in names
    assert not any(path.startswith(("tests/", *DATA)) for path in names)


def test_installed_wheel_knows_its_tasks(venv: Path, empty: Path) -> None:
    add_everything(venv)
    where = call(venv / "bin/python", "-c", "import wmrobot; print(wmrobot.__file__)", cwd=empty)
    assert Path(where.stdout.strip()).is_relative_to(venv)
    result = call(venv / "bin/wmrobot", "tasks", "qube2-swingup", "--json", cwd=empty)
    assert (result.returncode, result.stderr) == (0, "")
    (task,) = json.loads(result.stdout)["tasks"]
    assert (task["source"], task["control_hz"], task["action_dim"]) == ("wmrobot", 50.0, 1)
    assert list(empty.iterdir()) == []


def test_base_installation_names_the_missing_extra(venv: Path, empty: Path) -> None:
    add_base(venv)
    info = call(venv / "bin/wmrobot", "info", "--json", cwd=empty)
    assert (info.returncode, info.stderr) == (0, "")
    assert json.loads(info.stdout)["packages"]["torch"] is None
    runtime = call(venv / "bin/python", "-c", "import wmrobot.runtime", cwd=empty)
    assert (runtime.returncode, runtime.stderr) == (0, "")
    train = call(venv / "bin/wmrobot", "train", "cartpole-swingup", cwd=empty)
    assert train.returncode == 2
    assert train.stderr.startswith("error: this needs wmrobot[train] (")
    assert train.stderr.endswith('is not installed): pip install ".[train]" in its checkout\n')
    assert train.stderr.count("\n") == 1


def test_base_installation_runs_a_bundle(venv: Path, empty: Path, cart_bundle: Path) -> None:
    add_base(venv)
    code = (
        "import numpy as np; from wmrobot.runtime import Planner;"
        f"p = Planner.load({str(cart_bundle)!r});"
        "print(p.act({'state': np.zeros((1, 3), np.float32)}).shape)"
    )
    result = call(venv / "bin/python", "-W", "error", "-c", code, cwd=empty)
    assert (result.stdout, result.stderr) == ("(1, 1)\n", "")
    export = call(venv / "bin/wmrobot", "export", "qube2-swingup", cwd=empty)
    assert (export.returncode, export.stderr.count("\n")) == (2, 1)


def test_installed_wheel_drives_with_a_shipped_controller(venv: Path, empty: Path) -> None:
    add_everything(venv)
    words = ("qube2-swingup", "episodes=2", "threads=1", "--json")
    result = call(venv / "bin/wmrobot", "evaluate", *words, cwd=empty)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["mean_reward"] > 150  # of 300
    assert list(empty.iterdir()) == []
