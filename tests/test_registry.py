"""One name, one environment; a wrong name is answered with the nearest right one."""

import subprocess
import sys
from pathlib import Path

import pytest

from wmrobot.core.errors import TaskError
from wmrobot.envs import registry
from wmrobot.envs.registry import canonical_name, make_env, task_info, task_names
from wmrobot.envs.suite import SUITE
from wmrobot.envs.user_file import find_task_function, own_tasks


def test_table_is_the_suite() -> None:
    from dm_control import suite

    pairs = {(domain, name) for domain, names in SUITE.items() for name in names}
    assert pairs == set(suite.ALL_TASKS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("walker-run", "walker-run"),
        ("Walker-Run", "walker-run"),
        ("cup-catch", "cup-catch"),
        ("ball_in_cup-catch", "cup-catch"),
        ("pointmass-easy", "pointmass-easy"),
        ("point_mass-hard", "pointmass-hard"),
        ("finger-turn-easy", "finger-turn-easy"),
        ("finger-turn_easy", "finger-turn-easy"),
        ("cartpole_swingup_sparse", "cartpole-swingup-sparse"),
        ("humanoid_CMU-run", "humanoid-cmu-run"),
        ("qube2_swingup", "qube2-swingup"),
        ("gym:Pendulum-v1", "gym:Pendulum-v1"),
    ],
)
def test_a_name_has_one_spelling(given: str, expected: str) -> None:
    assert canonical_name(given) == expected


def test_a_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical_name("a/robot.py:reach") == f"{tmp_path}/a/robot.py:reach"


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(TaskError) as caught:
        canonical_name("walker-rum")
    message = str(caught.value)
    assert message.startswith("no task named 'walker-rum'. Did you mean 'walker-run'? Known: acro")
    assert message.endswith("walker-walk")


def test_all_names_are_canonical() -> None:
    assert len(task_names()) == 51 + len(own_tasks())
    assert [canonical_name(name) for name in task_names()] == list(task_names())


def test_listed_own_tasks_are_the_marked_ones() -> None:
    for name, (path, function) in own_tasks().items():
        assert find_task_function(path, function).info == task_info(name)


def test_benchmark_settings() -> None:
    quadruped, walker = task_info("quadruped-run"), task_info("walker-run")
    assert (walker.action_repeat, walker.episode_decisions) == (2, 500)
    assert quadruped.cameras == (2,)
    assert walker.cameras == (0,)


def test_renderer_is_chosen_before_a_file_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(registry, "choose_backend", lambda: chosen.append("chosen"))
    file = tmp_path / "robot.py"
    file.write_text("raise ValueError('imported')\n")
    with pytest.raises(TaskError, match="imported"):
        task_info(f"{file}:reach")
    assert chosen == ["chosen"]


def test_camera_that_the_model_lacks() -> None:
    with pytest.raises(TaskError, match=r"^camera 9: expected 0 <= camera < 2 .*"):
        make_env("cartpole-balance", seed=0, obs="rgb", cameras=[9])


@pytest.mark.slow
def test_listing_imports_no_simulator() -> None:
    code = (
        "import sys, wmrobot.envs.registry as r; r.task_names()\n"
        "assert not {'mujoco', 'dm_control', 'gymnasium', 'torch'} & set(sys.modules)\n"
        "import wmrobot.envs.ids\n"
        "assert not {'mujoco', 'dm_control', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
