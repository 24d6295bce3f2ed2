"""`wmrobot evaluate`: deterministic, complete, and refuses what a controller was not made for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import TASKS
from tests.tiny import make_card, write_controller
from wmrobot.app import rollout
from wmrobot.app.cli import main
from wmrobot.app.controllers import read_controller
from wmrobot.core.errors import TaskError
from wmrobot.data.episodes import read_episodes

TASK = "qube2-swingup"


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_controller(tmp_path_factory.mktemp("evaluate") / "controller", TASK)


def evaluate(capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["evaluate", *words, "threads=1", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_the_same_seed_gives_the_same_episodes(
    controller: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = evaluate(capfd, f"run={controller}", "episodes=3", "seed=4")
    second = evaluate(capfd, f"run={controller}", "episodes=3", "seed=4", "workers=2")
    other = evaluate(capfd, f"run={controller}", "episodes=3", "seed=5")
    assert first["episodes"] == second["episodes"]
    assert first["episodes"] != other["episodes"]


def test_another_seed_has_other_starts(controller: Path) -> None:
    model, card = read_controller(controller, torch.device("cpu"))
    starts = [
        rollout.evaluate(model, card, episodes=2, seed=seed, agent="zero", record=True)
        .recorded[row].obs["state"][0]
        for seed in (4, 5)
        for row in (0, 1)
    ]  # fmt: skip
    assert len(np.unique(starts, axis=0)) == 4


@pytest.mark.parametrize("agent", ["trained", "prior", "zero", "random", "shuffled"])
def test_every_agent_can_be_measured(
    agent: str, controller: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = evaluate(capfd, f"run={controller}", f"agent={agent}", "episodes=2")
    episodes = document["episodes"]
    assert document["agent"] == agent
    assert isinstance(episodes, list)
    assert len(episodes) == 2
    assert document["mean_reward"] == pytest.approx(np.mean([e["reward"] for e in episodes]))
    if agent == "zero":
        assert [(e["length"], e["terminated"], e["success"]) for e in episodes] == [
            (300, False, False)
        ] * 2


def test_episodes_are_written_as_they_were(
    controller: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = evaluate(
        capfd, f"run={controller}", "episodes=2", "agent=random", f"save_episodes={tmp_path}"
    )
    told = document["episodes"]
    assert isinstance(told, list)
    for (_, episode), facts in zip(
        read_episodes(tmp_path, make_card(TASK).task), told, strict=True
    ):
        assert len(episode.action) == facts["length"]
        assert episode.reward.sum() == pytest.approx(facts["reward"], rel=1e-4)
        assert episode.terminated == facts["terminated"]


def test_a_controller_of_another_task_is_refused(
    controller: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "cartpole-swingup", f"run={controller}"]) == 2
    assert capfd.readouterr().err == (
        f"error: {controller}: expected a controller of cartpole-swingup, got one of "
        f"{TASK}; leave the task out to use its own\n"
    )


def test_other_pictures_than_trained_with_are_refused_unless_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seeing = write_controller(tmp_path / "seeing", TASK, obs="rgb")
    words = ["evaluate", f"run={seeing}", "render=fast", "episodes=1", "agent=prior", "threads=1"]
    assert main(words) == 2
    assert capfd.readouterr().err == (
        f"error: {seeing}: trained with render=near, got render=fast; add allow_render=true to do "
        "it all the same\n"
    )
    assert main([*words, "allow_render=true"]) == 0


def test_a_task_file_may_have_moved(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old" / "tiny.py", tmp_path / "new" / "tiny.py"
    for path in (old, new):
        shutil.copytree(TASKS.parent, path.parent)
    folder = write_controller(tmp_path / "controller", f"{old}:cart")
    old.unlink()
    assert main(["evaluate", f"run={folder}"]) == 2
    assert "found no such file" in capfd.readouterr().err
    assert evaluate(capfd, f"{new}:cart", f"run={folder}", "episodes=1")["task"] == f"{new}:cart"
    assert main(["evaluate", f"{new}:opaque", f"run={folder}"]) == 2
    assert "expected a controller of" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"control_dt": 0.01}, r"control_dt \[s\] 0.01, got 0.02"),
        ({"obs_shapes": {"state": (8,)}}, r"state observations \(8,\), got \(9,\)"),
        ({"obs_names": tuple("abcdefghi")}, "names of observations .*'a', 'b'"),
        ({"action_dim": 2}, "actuators 2, got 1"),
        ({"action_bounds": ((-1.0,), (2.0,))}, r"bounds \(\(-1.0,\), \(2.0,\)\), got \(\(-1.0,"),
    ],
)
def test_a_task_that_has_changed_since_training_is_refused(
    change: dict[str, object], expected: str, controller: Path
) -> None:
    model, card = read_controller(controller, torch.device("cpu"))
    other = replace(card, task=replace(card.task, **change))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=f"{TASK}: it has changed since training: .*{expected}"):
        rollout.evaluate(model, other, episodes=1, seed=0, agent="zero")


def test_neither_task_nor_run_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate"]) == 2
    assert "expected a task or run=<folder>, got neither" in capfd.readouterr().err
