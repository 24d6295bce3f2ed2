"""A sweep's file says which runs there are; what it may not say is refused before any begins."""

import json
from pathlib import Path

import pytest

from tests.runs import CART, COUNTER
from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.sweeping.plan import Plan, list_runs, read_plan
from wmrobot.app.training.run_file import SUMMARY_FILE
from wmrobot.app.training.settings import TrainConfig, settle_places
from wmrobot.core.config import to_plain
from wmrobot.core.errors import CheckpointError, ConfigError, WmrobotError

SWEEPS = Path(__file__).parent.parent / "benchmarks" / "sweeps"


def test_runs_are_tasks_times_seeds(tmp_path: Path) -> None:
    plan = Plan(
        tasks=("walker-walk", "cup-catch"),
        seeds=(1, 2),
        settings=("profile=nano", "steps=50"),
        task_settings={"cup-catch": ("steps=70",)},
    )
    runs = list_runs(plan, tmp_path)
    assert [(run.task, run.seed) for run in runs] == [
        ("walker-walk", 1), ("cup-catch", 1), ("walker-walk", 2), ("cup-catch", 2),
    ]  # fmt: skip
    assert [run.settings.steps for run in runs] == [50, 70, 50, 70]
    assert runs[0].folder == tmp_path / "walker-walk" / "seed-1"
    assert runs[1].words == (
        "task=cup-catch", "profile=nano", "steps=50", "steps=70", "seed=1",
        f"run={tmp_path / 'cup-catch' / 'seed-1'}",
    )  # fmt: skip
    assert runs[0].with_threads(2).words[-1] == "threads=2"


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_sweeps_are_understood(path: Path, tmp_path: Path) -> None:
    plan = read_plan(path)
    runs = list_runs(plan, tmp_path)
    assert len(runs) == len(plan.tasks) * len(plan.seeds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tasks: [cup-catch]", "seeds: expected a value, got none"),
        ("tasks: []\nseeds: [1]", "tasks: expected at least one, got none"),
        ("tasks: [cup-catch]\nseeds: [1, 1]", "seeds: expected each once, got [1, 1]"),
        ("tasks: [cup-catch]\nseeds: [one]", "seeds: expected a list, each a whole number, got "
         "['one']"),
        ("tasks: [cup-catch]\nseeds: [1]\ntask_settings: {cup-cach: []}",
         "no task of this sweep named 'cup-cach'. Did you mean 'cup-catch'? Known: cup-catch"),
        ("tasks: [cup-catch]\nseeds: [1]\nsettings: [seed=3]",
         "settings: expected no seed=3; the sweep decides it itself"),
        ("seads: [1]", "no setting named 'seads'. Did you mean 'seeds'? Known: seeds, settings, "
         "task_settings, tasks"),
        ("- 3", "expected tasks, seeds and settings by name, got [3]"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert str(caught.value) == f"{path}: {expected}"


def test_a_missing_file_and_broken_yaml_are_told(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    with pytest.raises(ConfigError, match="no such file; expected a sweep as YAML"):
        read_plan(path)
    path.write_text("tasks: [")
    with pytest.raises(ConfigError, match="expected YAML, got while parsing"):
        read_plan(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"settings": ("stebs=3",)}, "no setting named 'stebs'. Did you mean 'steps'?"),
        ({"tasks": ("walker-wok",)}, "no task named 'walker-wok'."),
        ({"tasks": ("/nowhere/arm.py:reach",)}, "/nowhere/arm.py: expected a Python file with a"),
        ({"tasks": ("cup-catch", "ball_in_cup-catch")}, "tasks: expected each once, got"),
    ],
)
def test_words_are_checked_before_anything_begins(
    changes: dict[str, tuple[str, ...]], expected: str, tmp_path: Path
) -> None:
    plan = Plan(**{"tasks": ("cup-catch",), "seeds": (1,), **changes})  # type: ignore[arg-type]
    with pytest.raises(WmrobotError) as caught:
        list_runs(plan, tmp_path)
    assert str(caught.value).startswith(expected)


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    plan = Plan(tasks=(CART, COUNTER), seeds=(1,), settings=("profile=nano", "steps=50"))
    run = list_runs(plan, tmp_path)[0]
    assert run.state() == "new"
    run.refuse_another()
    run.folder.mkdir(parents=True)

    def store(settings: TrainConfig) -> None:
        plain = {"schema": 1, "settings": to_plain(settings), "made": {}}
        (run.folder / RUN_FILE).write_text(json.dumps(plain))

    store(settle_places(run.settings))
    assert run.state() == "begun"
    run.refuse_another()
    store(list_runs(Plan(tasks=(CART,), seeds=(1,), settings=("threads=7",)), tmp_path)[0].settings)
    with pytest.raises(CheckpointError) as caught:
        run.refuse_another()
    assert str(caught.value) == (
        f"{run.folder}: expected the sweep's run with profile=nano, got one with base; choose "
        "another runs=, or move it away"
    )
    (run.folder / SUMMARY_FILE).write_text("{}")
    assert run.state() == "finished"


def test_tasks_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    text = "def reach(seed): raise NotImplementedError"
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "robot.py").write_text(text)
    tasks = tuple(str(tmp_path / name / "robot.py:reach") for name in "ab")
    with pytest.raises(ConfigError, match="tasks: expected different names of files"):
        list_runs(Plan(tasks=tasks, seeds=(1,)), tmp_path / "runs")
