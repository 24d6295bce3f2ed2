"""A run that was broken off, however and wherever, comes to the end it would have come to."""

import json
import logging
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs import (
    CART,
    OPAQUE,
    REACH,
    TASKS,
    Death,
    assert_same,
    calls,
    end_of,
    opened,
    play,
    silent,
    snapshot_of,
    tiny,
    words,
)
from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.rollout import evaluate
from wmrobot.app.tables import read_rows
from wmrobot.app.train import train
from wmrobot.app.training.glance import glance
from wmrobot.app.training.run_file import read_settings
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.errors import CheckpointError, TaskError

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parent.parent),
}
KILLS = 20


def whole(cfg: TrainConfig, tmp_path: Path) -> dict[str, Any]:
    """The end of the run that nothing breaks off."""
    assert play(cfg, tmp_path / "whole")
    return end_of(cfg, tmp_path / "whole")


def test_stopped_and_died_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    cfg, run = tiny(steps=30, eval_freq=0), tmp_path / "broken"
    assert not play(cfg, run, stop=19)
    assert not play(cfg, run, die=27)
    assert play(cfg, run)
    assert_same(end_of(cfg, run), whole(cfg, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "num_envs"),
    [(CART, 1), *((name, 3) for name in (CART, "cartpole-swingup", "qube2-swingup-robust"))],
)
def test_broken_run_ends_as_the_whole_one(task: str, num_envs: int, tmp_path: Path) -> None:
    cfg, run = tiny(task, num_envs=num_envs, eval_freq=0), tmp_path / "broken"
    assert not play(cfg, run, stop=4)  # among the random decisions
    assert not play(cfg, run, die=11)  # before the next checkpoint
    assert not play(cfg, run, stop=16)  # right after the pretraining
    assert not play(cfg, run, die=35)
    assert not play(cfg, run, stop=36)
    assert not play(cfg, run, stop=37)  # right after it was resumed
    assert not play(cfg, run, die=55)
    assert play(cfg, run)
    assert play(cfg, run)  # finished: nothing more happens
    assert_same(end_of(cfg, run), whole(cfg, tmp_path))


@pytest.mark.slow
def test_broken_run_with_pictures_ends_as_the_whole_one(tmp_path: Path) -> None:
    cfg = tiny(CART, obs="state+rgb", cameras=[-1], num_envs=2, steps=36, eval_freq=0)
    run = tmp_path / "broken"
    assert not play(cfg, run, die=13)
    assert not play(cfg, run, stop=21)
    assert not play(cfg, run, die=31)
    assert play(cfg, run)
    assert_same(end_of(cfg, run), whole(cfg, tmp_path))


@pytest.mark.slow
def test_replay_that_goes_round_comes_back(tmp_path: Path) -> None:
    cfg = tiny(num_envs=3, replay={"buffer_size": 30}, steps=150, eval_freq=0)
    for save_freq in (12, 100):  # often, and so seldom that every ring went round in between
        each = tiny(
            num_envs=3, replay={"buffer_size": 30}, steps=150, eval_freq=0, save_freq=save_freq
        )
        run = tmp_path / str(save_freq)
        assert not play(each, run, stop=50)
        assert not play(each, run, die=110)
        assert play(each, run)
        expected = whole(cfg, tmp_path / f"as {save_freq}")
        assert_same(end_of(each, run), expected)


@pytest.mark.slow
def test_stop_amid_pretraining_and_amid_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = tiny(eval_freq=20), tmp_path / "broken"
    expected = whole(cfg, tmp_path)
    owed = []
    for number in (3, 1):
        with opened(cfg, run) as trainer:
            update = calls(trainer.learner.update, number, partial(ask_to_stop, trainer))
            trainer.learner.update = update  # type: ignore[method-assign]
            assert not trainer.loop(silent)
            owed.append((trainer.counters.decisions, trainer.counters.owed))
    assert owed == [(15, 12.0), (15, 11.0)]
    with opened(cfg, run) as trainer, monkeypatch.context() as patch:
        stopped = calls(evaluate, 1, partial(ask_to_stop, trainer))
        patch.setattr("wmrobot.app.training.trainer.evaluate", stopped)
        assert not trainer.loop(silent)
        assert (trainer.counters.decisions, trainer.counters.settled) == (20, 19)
    assert (run / "eval.csv").read_text() == "step,episode_reward\n"
    with opened(cfg, run) as trainer, monkeypatch.context() as patch:
        stopped = calls(glance, 1, partial(ask_to_stop, trainer))
        patch.setattr("wmrobot.app.training.trainer.glance", stopped)
        assert not trainer.loop(silent)  # its row is written: the decision is done with
        assert (trainer.counters.decisions, trainer.counters.settled) == (20, 20)
    assert play(cfg, run)
    assert_same(end_of(cfg, run), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "workers"), [(CART, 0), (CART, 2), ("cartpole-swingup", 0)])
def test_stop_while_a_decision_is_under_way(task: str, workers: int, tmp_path: Path) -> None:
    cfg = tiny(task, num_envs=2, workers=workers, eval_freq=0, updates_per_decision=1.0)
    run = tmp_path / "broken"
    expected = whole(cfg, tmp_path)
    under_way = []
    for number in (20, 1):  # the first update of a round, and its second and last
        with opened(cfg, run) as trainer:
            update = calls(trainer.learner.update, number, partial(ask_to_stop, trainer))
            trainer.learner.update = update  # type: ignore[method-assign]
            assert not trainer.loop(silent)
            under_way.append(trainer.collector.under_way)
    assert under_way == [True, False]
    assert play(cfg, run)
    assert_same(end_of(cfg, run), expected)


def ask_to_stop(trainer: Trainer) -> None:
    trainer.stop_requested = True


def test_environment_without_a_snapshot_starts_its_episode_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, run = tiny(REACH, num_envs=2, steps=44, seed_steps=44, eval_freq=0), tmp_path / "run"
    assert not play(cfg, run, stop=26)
    with caplog.at_level(logging.WARNING), opened(cfg, run) as trainer:
        assert [record.getMessage() for record in caplog.records] == [
            f"{REACH}: environment {row} cannot tell its state: its episode starts anew"
            for row in (0, 1)
        ]
        assert trainer.counters.decisions == 26
        assert trainer.collector.returns.tolist() == [0, 0]
        assert trainer.collector.obs["state"][:, 0].tolist() == [
            0,
            0,
        ]  # the environment's own step count
        assert trainer.loop(silent)
        batch = trainer.replay.sample(np.random.default_rng(0), 500)
    step = batch.obs["state"][..., 0].numpy()
    lived = np.concatenate([np.ones_like(step[:1]), batch.mask.numpy()]) > 0
    follows = step[1:] == step[:-1] + 1  # no window leads from the old episode into the new one
    assert follows[lived[1:]].all()


def test_environment_without_a_snapshot_remembers_the_decision_under_way(tmp_path: Path) -> None:
    cfg, run = tiny(REACH, num_envs=2, steps=44, seed_steps=20, eval_freq=0), tmp_path / "run"
    with opened(cfg, run) as trainer:
        while not trainer.collector.under_way:
            trainer._advance()
            trainer._settle()
            if trainer.counters.decisions >= 26:
                trainer.collector.decide()
        trainer.save()
        heads, returns = trainer.replay.heads, trainer.collector.returns.copy()
        episodes, told = trainer.counters.episodes, trainer.progress.last_return
    with opened(cfg, run) as trainer:
        assert np.array_equal(trainer.collector.returns, returns)
        trainer.collector.remember()
        # its result, and then the first observation of the next episode
        assert np.array_equal(trainer.replay.heads, heads + 2)
        assert trainer.counters.decisions == 28
        assert trainer.collector.returns.tolist() == [0, 0]
        # what was cut off is no episode whose return is told
        assert (trainer.counters.episodes, trainer.progress.last_return) == (episodes, told)
        assert trainer.collector.obs["state"][:, 0].tolist() == [0, 0]
        episode = trainer.replay.finished_episode(0)
        assert episode is not None
        assert episode.obs["state"][:, 0].tolist() == list(range(len(episode.action) + 1))


def test_task_whose_state_is_not_plain_starts_its_episode_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, run = tiny(OPAQUE, steps=30, seed_steps=30, eval_freq=0), tmp_path / "run"
    assert not play(cfg, run, stop=13)
    assert play(cfg, run)
    assert len(caplog.records) == 1


@pytest.mark.slow
def test_run_that_died_before_its_first_checkpoint_begins_once_more(tmp_path: Path) -> None:
    cfg = replace(tiny(steps=30, eval_freq=0), run=str(tmp_path / "run"))
    run = tmp_path / "run"
    with monkeypatched_death(), pytest.raises(Death):
        train(cfg)
    assert checkpoint_folders(run) == []
    assert len((run / "train.csv").read_text().splitlines()) > 1
    assert train(TrainConfig(resume=str(run))) == (True, run)
    assert_same(end_of(cfg, run), whole(cfg, tmp_path))


@contextmanager
def monkeypatched_death() -> Iterator[None]:
    """The first checkpoint is the death of its process."""
    with pytest.MonkeyPatch.context() as patch:

        def die(self: Trainer) -> None:
            raise Death

        patch.setattr(Trainer, "save", die)
        yield


def test_run_goes_on_from_another_working_directory_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "mine.py").write_text(TASKS.read_text())
    (tmp_path / "here" / "sibling.py").write_text((TASKS.parent / "sibling.py").read_text())
    monkeypatch.chdir(tmp_path / "here")
    cfg = replace(tiny("mine.py:cart", steps=30, eval_freq=0), run="run")
    with monkeypatched_death(), pytest.raises(Death):
        train(cfg)
    monkeypatch.chdir(tmp_path / "there")
    Path("../here/run").rename("moved")
    assert train(TrainConfig(resume="moved")) == (True, Path("moved"))


def write_task(folder: Path, old: str = "", new: str = "") -> str:
    """A user's file in a folder of its own, with a change; the name of its task `cart`."""
    folder.mkdir()
    (folder / "mine.py").write_text(TASKS.read_text().replace(old, new))
    (folder / "sibling.py").write_text((TASKS.parent / "sibling.py").read_text())
    return f"{folder / 'mine.py'}:cart"


def test_run_goes_on_where_its_tasks_file_has_moved(tmp_path: Path) -> None:
    run, folders = tmp_path / "run", [tmp_path / str(index) for index in range(3)]
    cfg = replace(tiny(write_task(folders[0]), steps=20, eval_freq=0), run=str(run))
    assert train(cfg) == (True, run)
    folders[0].rename(folders[1])
    with pytest.raises(TaskError, match="found no such file"):
        train(TrainConfig(resume=str(run)))
    told = TrainConfig(task=f"{folders[1]}/mine.py:cart", resume=str(run))
    assert train(replace(told, extend_to=30)) == (True, run)
    moved = replace(cfg, task=told.task, steps=30)
    assert read_settings(run) == moved
    stayed = replace(moved, run=str(tmp_path / "stayed"), steps=20)
    train(stayed)
    train(TrainConfig(resume=stayed.run, extend_to=30))
    assert_same(end_of(moved, run), end_of(replace(stayed, steps=30), tmp_path / "stayed"))
    folders[1].rename(folders[2])
    told = TrainConfig(task=f"{folders[2]}/mine.py:cart", resume=str(run))
    assert train(told) == (True, run)
    assert (run / "summary.json").exists()  # it is as finished as before
    assert read_settings(run) == replace(moved, task=told.task)
    assert train(TrainConfig(resume=str(run))) == (True, run)  # no need to tell once more


def test_run_does_not_go_on_with_another_task(tmp_path: Path) -> None:
    run, own = tmp_path / "run", write_task(tmp_path / "own")
    cfg = replace(tiny(own, steps=20, eval_freq=0), run=str(run))
    assert train(cfg) == (True, run)
    other, before = f"{tmp_path / 'other' / 'mine.py'}:opaque", snapshot_of(run)
    with pytest.raises(CheckpointError) as caught:
        train(TrainConfig(task=other, resume=str(run)))
    assert str(caught.value) == (
        f"{run}: expected a run of {other}, got one of {own}; leave the task out to use its own"
    )
    smaller = write_task(tmp_path / "smaller", '[gravity, self.gains["low"][0]]', "[gravity]")
    with pytest.raises(
        CheckpointError, match=r"this run's task, with obs_shapes.state=\[2\], got \[3\]"
    ):
        train(TrainConfig(task=smaller, resume=str(run)))
    stronger = write_task(tmp_path / "stronger", 'ctrlrange="-2 2"', 'ctrlrange="-3 3"')
    with pytest.raises(
        CheckpointError, match=r"action_bounds=\[\[-3.0\], \[3.0\]\], got \[\[-2.0\], \[2.0"
    ):
        train(TrainConfig(task=stronger, resume=str(run)))
    with pytest.raises(CheckpointError, match="expected a run of cartpole-swingup, got one of"):
        train(TrainConfig(task="cartpole-swingup", resume=str(run)))
    assert snapshot_of(run) == before


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    cfg = replace(tiny(steps=20, eval_freq=0), run=str(run))
    assert train(cfg) == (True, run)
    before = snapshot_of(run)
    assert train(TrainConfig(resume=str(run))) == (True, run)
    assert snapshot_of(run) == before


def start_process(
    *arguments: str, script: str = "-m wmrobot train", start_new_session: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *script.split(), *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        start_new_session=start_new_session,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)


def test_a_run_is_made_longer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    learner = {"batch_size": 8, "prior_from": "plan", "replan_size": 4}
    cfg = replace(tiny(steps=20, eval_freq=0, learner=learner), run=str(run))
    assert train(cfg) == (True, run)
    before = (run / "eval.csv").read_text()
    assert train(TrainConfig(resume=str(run), extend_to=50)) == (True, run)
    assert read_settings(run).steps == 50
    assert json.loads((run / "summary.json").read_text())["decisions"] == 50
    assert (run / "eval.csv").read_text().startswith(before)
    assert [row["step"] for row in read_rows(run / "eval.csv")] == ["40", "100"]

    as_it_ended = end_of(replace(cfg, steps=50), run)
    assert train(TrainConfig(resume=str(run))) == (True, run)  # it has ended again
    assert_same(end_of(replace(cfg, steps=50), run), as_it_ended)


def test_a_longer_run_that_is_broken_off_ends_as_the_whole_one(tmp_path: Path) -> None:
    ends = []
    for name in ("whole", "broken"):
        run = tmp_path / name
        cfg = replace(tiny(steps=20, eval_freq=0), run=str(run))
        assert train(cfg) == (True, run)
        longer = TrainConfig(resume=str(run), extend_to=50)
        if name == "broken":
            with monkeypatched_death(), pytest.raises(Death):
                train(longer)  # before it saved anything: the last checkpoint is the shorter run's
            longer = replace(longer, extend_to=None)
        assert train(longer) == (True, run)
        ends.append(end_of(replace(cfg, steps=50), run))
    assert_same(*ends)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_leaves(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings: dict[str, Any] = {"steps": 100_000, "save_freq": 0, "eval_freq": 0, "log_freq": 20}
    process = start_process(*words(**settings), f"run={run}")
    wait_for(lambda: (run / "train.csv").exists() and len(rows(run)) > 3, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.endswith(f"stopped and saved; go on with: wmrobot train resume={run}\n")
    (saved,) = checkpoint_folders(run)
    stopped_at = int(saved.name)
    assert 0 < stopped_at < 100_000

    again = stopped_at + 20  # the same run in this process, never stopped, comes to the same
    cfg = tiny(**settings)
    assert not play(cfg, tmp_path / "whole", stop=again)
    assert not play(replace(cfg, run=str(run)), run, stop=again)
    assert_same(end_of(replace(cfg, run=str(run)), run), end_of(cfg, tmp_path / "whole"))


@pytest.mark.slow
def test_signal_to_the_whole_group_spares_the_environments(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings: dict[str, Any] = {"steps": 100_000, "save_freq": 0, "eval_freq": 0, "workers": 2}
    process = start_process(*words(num_envs=2, **settings), f"run={run}", start_new_session=True)
    wait_for(lambda: (run / "train.csv").exists() and len(rows(run)) > 3, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert len(checkpoint_folders(run)) == 1


@pytest.mark.slow
def test_a_terminal_that_goes_loses_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings: dict[str, Any] = {"steps": 100_000, "save_freq": 0, "eval_freq": 0, "workers": 2}
    command = [sys.executable, "-m", "wmrobot", "train", *words(num_envs=2, **settings)]
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], [*command, f"run={run}"], ENVIRONMENT)
    os.set_blocking(terminal, False)
    while not (run / "train.csv").exists() or len(rows(run)) < 4:
        with suppress(BlockingIOError):
            os.read(terminal, 4096)
        time.sleep(0.01)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) != 0
    assert len(checkpoint_folders(run)) == 1


def rows(run: Path) -> list[str]:
    return (run / "train.csv").read_text().splitlines()


SLEEPER = """
import time
from pathlib import Path
import dm_env
import numpy as np
from dm_env import specs

class Sleeper(dm_env.Environment):
    def reset(self):
        return dm_env.restart(np.zeros(1))
    def step(self, action):
        if Path(__file__).with_name("sleep").exists():
            Path(__file__).with_name("asleep").touch()
            time.sleep(1000)
        return dm_env.transition(0.0, np.zeros(1))
    def action_spec(self):
        return specs.BoundedArray((1,), np.float32, -1, 1)
    def observation_spec(self):
        return specs.Array((1,), np.float64)

def sleeper(seed):
    return Sleeper()
"""


@pytest.mark.slow
def test_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SLEEPER, encoding="utf-8")
    run = tmp_path / "run"
    task = f"{tmp_path}/mine.py:sleeper"
    process = start_process(*words(task, steps=10**6, save_freq=20, eval_freq=0), f"run={run}")
    wait_for(lambda: bool(checkpoint_folders(run)), process)
    (tmp_path / "sleep").touch()
    wait_for((tmp_path / "asleep").exists, process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)  # it waits for the decision, to save after it
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "stopped and saved" not in err
    (tmp_path / "sleep").unlink()
    cfg = tiny(task, steps=10**6, save_freq=20, eval_freq=0)
    saved = int(checkpoint_folders(run)[-1].name)
    with opened(replace(cfg, run=str(run)), run) as trainer:
        assert trainer.counters.decisions == saved


@pytest.mark.slow
def test_run_killed_at_20_instants_ends_as_the_whole_one(tmp_path: Path) -> None:
    """Kills in decisions, in updates, and in every step of writing a checkpoint or a table."""
    task = "qube2-swingup-robust"
    pace: dict[str, Any] = {"num_envs": 2, "steps": 400, "eval_freq": 200, "save_freq": 20}
    run, instants = tmp_path / "run", random.Random(4)
    script = str(Path(__file__).parent / "killed_run.py")
    for kill in range(KILLS + 1):
        instant = instants.randrange(1, 150) if kill < KILLS else 0
        arguments = [str(run), str(instant), *words(task, **pace)]
        process = start_process(*arguments, script=script)
        _, err = process.communicate(timeout=120)
        assert process.returncode == (0 if instant == 0 else -signal.SIGKILL), err
    cfg = tiny(task, **pace)
    assert_same(end_of(replace(cfg, run=str(run)), run), whole(cfg, tmp_path))
    leftovers = [path.name for path in run.rglob("*") if path.name.endswith((".part", ".replaced"))]
    assert leftovers == []
