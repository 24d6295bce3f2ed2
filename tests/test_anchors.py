"""Published returns are read as they were published, and broken tables are told."""

from pathlib import Path

import numpy as np
import pytest

from wmrobot.app.sweeping.anchors import (
    CURVES_FILE,
    METHODS_FILE,
    Anchors,
    default_folder,
    read_anchors,
)
from wmrobot.core.errors import DataError

CURVES = """obs,task,step,reward,seed
state,walker-walk,0,20,1
state,walker-walk,100000,960,1
state,walker-walk,100000,940,2
pixels,walker-walk,100000,700,1
"""
METHODS = """method,obs,task,env_steps,mean_return,std,n_seeds,source
BMPC,state,walker-walk,100000,961.9,,,somewhere
"""


def write(folder: Path, curves: str = CURVES, methods: str = METHODS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / CURVES_FILE).write_text(curves)
    (folder / METHODS_FILE).write_text(methods)
    return folder


def test_seeds_are_kept_apart(tmp_path: Path) -> None:
    anchors = read_anchors(write(tmp_path))
    curve = anchors.reference("state", "walker-walk")
    assert curve is not None
    np.testing.assert_array_equal(curve.steps, [0, 100000])
    np.testing.assert_array_equal(curve.returns, [[20, 960], [np.nan, 940]])
    pixels = anchors.reference("rgb", "walker-walk")
    assert pixels is not None
    assert pixels.mean_at(100000) == (100000, 700.0)
    others = anchors.others("state", "walker-walk")
    assert list(others) == ["BMPC"]
    assert others["BMPC"].mean_at(0) == (100000, 961.9)


def test_the_next_published_step_is_the_measure(tmp_path: Path) -> None:
    curve = read_anchors(write(tmp_path)).reference("state", "walker-walk")
    assert curve is not None
    assert curve.mean_at(0) == (0, 20.0)
    assert curve.mean_at(1) == (100000, 950.0)
    assert curve.mean_at(10**6) == (100000, 950.0)  # nothing later was published


def test_a_task_without_anchors_has_none(tmp_path: Path) -> None:
    for anchors in (read_anchors(write(tmp_path)), Anchors()):
        assert anchors.reference("state", "qube2-swingup") is None
        assert anchors.reference("state+rgb", "walker-walk") is None
        assert anchors.others("state", "qube2-swingup") == {}


def test_missing_columns_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, curves=CURVES.replace("reward", "return"))
    with pytest.raises(DataError) as caught:
        read_anchors(folder)
    assert str(caught.value) == (
        f"{folder / CURVES_FILE}: expected the columns obs, task, step, reward, seed, got obs, "
        "task, step, return, seed; missing: reward"
    )
    (folder / CURVES_FILE).write_text("")
    with pytest.raises(DataError, match="got none; missing: obs, task, step, reward, seed"):
        read_anchors(folder)


def test_a_cell_that_is_no_number_is_told_with_its_line(tmp_path: Path) -> None:
    folder = write(tmp_path, methods=METHODS.replace("961.9", "n/a"))
    with pytest.raises(DataError) as caught:
        read_anchors(folder)
    assert str(caught.value) == (
        f"{folder / METHODS_FILE}, line 2: expected numbers for env_steps and mean_return, got "
        "'100000' and 'n/a'"
    )


def test_a_folder_without_anchors_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_anchors(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / CURVES_FILE}: no such file; anchors= takes the folder of {CURVES_FILE} and "
        f"{METHODS_FILE}"
    )


def test_the_checkouts_own_anchors_have_the_tasks_of_the_sweeps() -> None:
    folder = default_folder()
    assert folder is not None
    anchors = read_anchors(folder)
    for task in ("cartpole-swingup", "cup-catch", "cheetah-run"):
        curve = anchors.reference("state", task)
        assert curve is not None
        assert len(curve.returns) == 3
        assert "BMPC" in anchors.others("state", task)
