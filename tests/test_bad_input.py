"""What a user can get wrong about a run: one line that says what, expected, got and cure."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs import CART, PLAIN, TASKS, opened, play, snapshot_of, tiny, words
from wmrobot.app.cli import main
from wmrobot.app.config import load
from wmrobot.app.controllers import SCHEMA, checkpoint_folders
from wmrobot.app.run_folder import RUN_FILE, lock_run
from wmrobot.app.train import _say
from wmrobot.app.training.run_file import SCHEMA as RUN_SCHEMA
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.files import MANIFEST, read_json, write_json
from wmrobot.envs.registry import task_names
from wmrobot.learn.learner import Learner

Refusal = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that must be refused before anything starts; returns its one line."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").removesuffix("\n")

    return run


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "task=cartpole-swingupp",
            "no task named 'cartpole-swingupp'. Did you mean 'cartpole-swingup'? "
            f"Known: {', '.join(task_names())}",
        ),
        (
            "profile=nanoo",
            "no profile named 'nanoo'. Did you mean 'nano'? Known: base, large, nano, small",
        ),
        (
            "planner=cemm",
            "no planner named 'cemm'. Did you mean 'cem'? Known: cem, icem, mppi",
        ),
        (
            "learner.batchsize=3",
            "no setting named 'learner.batchsize'. Did you mean 'learner.batch_size'? Known: ",
        ),
        ("steps=0", "steps: expected at least 1, got 0"),
        ("steps=many", "steps: expected a whole number, got 'many'"),
        ("steps=2.5", "steps: expected a whole number, got 2.5"),
        ("seed=-1", "seed: expected at least 0, got -1"),
        ("updates_per_decision=0", "updates_per_decision: expected more than 0, got 0.0"),
        ("pretrain_updates=-1", "pretrain_updates: expected at least 0, got -1"),
        ("offline=1", "offline: expected true or false, got 1"),
        ("offline=true", "offline: expected data=<folder of episodes> with it, got none"),
        ("obs=rbg", "obs: expected one of state, rgb, state+rgb, got 'rbg'"),
        ("image_size=1e9", "image_size: expected at most 2,048, got 1,000,000,000"),
        ("num_envs=1e9", "num_envs: expected at most 65,536, got 1,000,000,000"),
        ("latent_dim=1e12", "model.latent_dim: expected at most 65,536, got 1,000,000,000,000"),
        ("image_size=20", "image_size: expected at least 40 pixels, got 20"),
        ("learner.lr=0", "learner.lr: expected more than 0, got 0.0"),
        ("num_q=1", "model.num_q: expected at least 2 (targets take 2 heads), got 1"),
        ("latent_dim=60", "model.simnorm_dim: expected a divisor of latent_dim=60, got 8"),
        (
            "num_elites=1000",
            "planner.num_elites: expected at most num_samples=512, got 1000",
        ),
        ("replay.storage=disk", "replay.storage: expected one of host, device, got 'disk'"),
        ("replay.budget_gb=-1", "replay.budget_gb: expected at least 0, got -1.0"),
        ("steps", "expected key=value, got 'steps'; write steps=<value>"),
        ("steps=", "steps: expected a value, got none; leave it out for its default"),
        ("resume=", "resume: expected a value, got none; leave it out for its default"),
        ("init= ", "init: expected a value, got none; leave it out for its default"),
        ("threads=1e6", "threads: expected 0 to 1024, got 1000000"),
    ],
)
def test_setting(word: str, expected: str, refusal: Refusal, tmp_path: Path) -> None:
    line = refusal("train", "cartpole-swingup", f"run={tmp_path / 'run'}", word)
    assert line == expected or (expected.endswith("Known: ") and line.startswith(expected))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "function", "expected"),
    [
        (None, "reach", "expected a Python file with a task function, found no such file"),
        (
            "import not_installed_anywhere",
            "reach",
            "cannot be imported: ModuleNotFoundError: No module named 'not_installed_anywhere' "
            "(line 1)",
        ),
        ("def (", "reach", "cannot be imported: SyntaxError: invalid syntax (mine.py, line 1)"),
        (
            "def raech(seed): ...",
            "reach",
            "no function named 'reach'. Did you mean 'raech'? Known: raech",
        ),
    ],
)
def test_file_of_a_task(
    text: str | None, function: str, expected: str, refusal: Refusal, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    line = refusal("train", f"{file}:{function}", "threads=1", f"run={tmp_path / 'run'}")
    assert line == f"{file}: {expected}"
    assert not (tmp_path / "run").exists()


def test_malformed_mjcf_and_other_things_that_are_no_environment(
    refusal: Refusal, tmp_path: Path
) -> None:
    run = f"run={tmp_path / 'run'}"
    line = refusal("train", f"{TASKS}:malformed", "threads=1", run)
    assert line.startswith(
        f"{TASKS}:malformed: ValueError: XML Error: Schema violation: unrecognized element"
    )
    assert refusal("train", f"{TASKS}:nothing", "threads=1", run) == (
        f"{TASKS}:nothing: expected the function to return a dm_env.Environment or a "
        "gymnasium.Env, got NoneType"
    )
    assert refusal("train", "gym:CartPole-v1", "threads=1", run) == (
        "gym:CartPole-v1: expected Box actions (continuous control), got Discrete(2); discrete "
        "actions cannot be planned"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("not_finite", "observation 'b[0,1]': expected a finite float32, got nan"),
        (
            "unpaid",
            "expected a number as reward, got None; does the task's get_reward return it?",
        ),
        (
            "paid_twice",
            "expected a number as reward, got an array of shape (2,); does the task's get_reward "
            "return it?",
        ),
        (
            "endless",
            "expected None, 0.0 or 1.0 from the task's get_termination, got False; None goes on, "
            "0.0 terminates an episode, 1.0 truncates it",
        ),
        ("doubtful", "expected True or False from the task's success, got an array of shape (2,)"),
        ("growing", "observation 'b': expected shape (1, 2), got (1, 3)"),
    ],
)
def test_observation_amid_a_run(
    function: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(["train", *words(f"{TASKS}:{function}", save_freq=1), f"run={run}"]) == 2
    out, err = capsys.readouterr()
    saved = checkpoint_folders(run)
    kept = f"The last good checkpoint is {saved[-1]}" if saved else "No checkpoint was saved yet"
    decisions = int(saved[-1].name) if saved else 0
    assert (out, err.splitlines()[-1]) == (
        "",
        f"error: {TASKS}:{function}: {expected} (at decision {decisions}). {kept}; mend the task, "
        f"then: wmrobot train resume={run}",
    )
    assert "Traceback" not in err


def test_home_of_nobody(refusal: Refusal) -> None:
    for each in (["train", "cup-catch", "run=~nobody9/x"], ["report", "run=~nobody9/x"]):
        assert refusal(*each) == ("~nobody9/x: expected the home of a user of this machine after ~")


SMALL = ("task=cartpole-swingup", "device=cpu", "buffer_size=1000")


@pytest.mark.parametrize(("profile", "is_warned"), [("base", True), ("nano", False)])
def test_a_run_that_takes_days_is_warned_about(
    profile: str, is_warned: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cfg = load(TrainConfig, [*SMALL, f"profile={profile}"])
    with opened(cfg, tmp_path / "run") as trainer:
        _say(trainer, tmp_path, "cpu", 1)
    assert ("take a day and more on a CPU" in capsys.readouterr().err) is is_warned


@pytest.mark.parametrize("place", ["/proc/run", "/proc/self/run"])
def test_place_where_no_folder_can_be_made(place: str, refusal: Refusal) -> None:
    assert refusal("train", *words(), f"run={place}") == (
        f"{place}: expected a folder for the run, but none can be made there (No such file or "
        "directory); choose another run="
    )


def test_name_that_is_too_long_for_a_file(refusal: Refusal, tmp_path: Path) -> None:
    run = tmp_path / ("x" * 300)
    assert refusal("train", *words(), f"run={run}") == f"{run}: File name too long"
    assert list(tmp_path.iterdir()) == []


def test_number_of_threads_that_is_none(refusal: Refusal) -> None:
    line = refusal("evaluate", "cartpole-swingup", "threads=-1")
    assert line == "threads: expected 0 to 1024, got -1"


def test_too_little_memory_is_refused_with_a_cure_that_works(
    refusal: Refusal, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = words(CART, replay={"budget_gb": 0.001}, steps=10**6)
    line = refusal("train", *plain, f"run={tmp_path / 'run'}")
    assert line == (
        "replay of 1,000,000 decisions needs 0.05 GB, expected at most 0.00 GB; "
        "lower replay.buffer_size to 20622 or raise replay.budget_gb"
    )
    assert not (tmp_path / "run").exists()
    plain = words(CART, replay={"budget_gb": 0.001, "buffer_size": 20622}, steps=20, eval_freq=0)
    assert main(["train", *plain, f"run={tmp_path / 'run'}"]) == 0
    capsys.readouterr()
    tiny_budget = words(CART, replay={"budget_gb": 1e-7})
    assert refusal("train", *tiny_budget, f"run={tmp_path / 'other'}").endswith(
        "expected at most 0.00 GB; raise replay.budget_gb"
    )


def test_run_in_use(refusal: Refusal, tmp_path: Path) -> None:
    run = tmp_path / "run"
    expected = f"{run}: in use by another process; wait for it, or choose another run="
    with lock_run(run):
        assert refusal("train", *words(), f"run={run}") == expected
        write_json(run / RUN_FILE, {})
        assert refusal("train", f"resume={run}") == expected


def test_folder_that_holds_a_run_or_episodes_already(refusal: Refusal, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / RUN_FILE).write_text("{}")
    before = snapshot_of(run)
    assert refusal("train", *words(), f"run={run}") == (
        f"{run}: holds a run already; go on with resume={run}, or choose another run="
    )
    assert snapshot_of(run) == before
    (tmp_path / "episode-000000.safetensors").write_bytes(b"precious")
    other = tmp_path / "other"
    assert refusal("train", *words(save_episodes=tmp_path), f"run={other}") == (
        f"save_episodes: expected a folder without episodes, got {tmp_path}, which has some; "
        "choose another one"
    )
    assert not other.exists()


def test_resuming_what_cannot_be_resumed(refusal: Refusal, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert refusal("train", f"resume={run}") == (
        f"{run}: expected a run to resume, found no run.json"
    )
    run.mkdir()
    file = run / RUN_FILE
    for content, expected in (
        ({"schema": RUN_SCHEMA + 1}, f"{file}: schema {RUN_SCHEMA + 1} is newer than this wmrobot "
         f"reads ({RUN_SCHEMA}); update wmrobot"),
        ([], f"{file}: expected an object with a schema, got neither"),
        ({"schema": 1, "settings": {"task": "cup-catch", "steps": 0}},
         f"{file}: steps: expected at least 1, got 0"),
        ({"schema": 1, "settings": []}, f"{file}: TrainConfig: expected a group of settings, "
         "got []"),
    ):  # fmt: skip
        write_json(file, content)
        assert refusal("train", f"resume={run}") == expected
    file.write_text("{")
    assert refusal("train", f"resume={run}").startswith(
        f"{file}: expected JSON, got something else ("
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    plain = words(steps=24, eval_freq=0, seed_steps=20)
    assert main(["train", *plain, f"run={run}"]) == 0
    return run


def test_resuming_takes_no_other_settings(refusal: Refusal, finished: Path) -> None:
    assert refusal("train", f"resume={finished}", "steps=50") == (
        "resume: expected no settings beside it but extend_to, which makes a run longer, and the "
        "task, where its file has moved; the run's own are used"
    )


def test_a_run_is_made_longer_only(refusal: Refusal, finished: Path) -> None:
    assert refusal("train", f"resume={finished}", "extend_to=24") == (
        "extend_to: expected more than the run's steps=24, got 24"
    )
    assert refusal("train", "cartpole-swingup", "extend_to=24") == (
        "extend_to: expected resume=<folder of a run> with it, got none"
    )


@pytest.mark.parametrize("verb", ["train", "evaluate", "info", "demo"])
def test_spoiled_checkpoint(verb: str, refusal: Refusal, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    arguments = [verb, f"{'resume' if verb == 'train' else 'run'}={run}"]
    checkpoint = checkpoint_folders(run)[-1]
    file = checkpoint / "controller.safetensors"
    whole = file.read_bytes()
    for spoiled in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(spoiled)
        cure = (
            f"; or remove {checkpoint}: then the run goes on from the one before, "
            f"{checkpoint_folders(run)[-2]}"
        )
        assert refusal(*arguments) == (
            f"{file}: altered (its SHA-256 is not the manifest's); use another one"
            + (cure if verb == "train" else "")
        )
    file.write_bytes(whole)
    write_json(checkpoint / MANIFEST, read_json(checkpoint / MANIFEST) | {"schema": SCHEMA + 1})
    assert refusal(*arguments) == (
        f"{checkpoint}: schema {SCHEMA + 1} is newer than this wmrobot reads ({SCHEMA}); "
        "update wmrobot"
    )


@pytest.mark.parametrize("init", ["no/such/run", "/no/such/run"])
def test_weights_to_start_from_that_are_not_there(
    init: str, refusal: Refusal, tmp_path: Path
) -> None:
    line = refusal("train", *words(init=init), f"run={tmp_path / 'run'}")
    assert line == f"{init}: expected a run or a controller, found no such folder"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("verb", "setting"),
    [("train", "save_episodes"), ("evaluate", "save_episodes"), ("demo", "out")],
)
def test_a_file_where_a_folder_is_to_be(
    verb: str, setting: str, refusal: Refusal, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    run = [f"run={tmp_path / 'run'}"] if verb == "train" else []
    line = refusal(verb, "qube2-swingup", f"{setting}={file}", *run)
    assert line == f"{setting}: expected a folder, got {file}, which is a file or lies in one"
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_no_space_left_amid_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fsync, target = os.fsync, run / "checkpoints" / "000000024"

    def full(descriptor: int) -> None:
        file = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if target.name in file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(["train", *words(eval_freq=0), f"run={run}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {target}: no space left while saving, nothing was written. The last good "
        f"checkpoint is {run / 'checkpoints' / '000000012'}; free some space, then go on with: "
        f"wmrobot train resume={run}"
    )
    assert [path for path in run.rglob("*") if path.name.endswith(".part")] == []
    assert main(["train", f"resume={run}"]) == 0


def test_losses_that_are_not_finite_amid_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, update = tmp_path / "run", Learner.update

    def spoil(self: Learner, batch: Any) -> Any:
        metrics = update(self, batch)
        return {**metrics, "total_loss": metrics["total_loss"] * math.nan}

    monkeypatch.setattr(Learner, "update", spoil)
    assert main(["train", *words(eval_freq=0), f"run={run}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: losses or weights are not finite after 18 updates; total_loss was the first to "
        f"break, in update 1. The last good checkpoint is {run / 'checkpoints' / '000000012'}; "
        f"start a new run with init={run} and a learner.lr below 0.0003"
    )
    assert [path.name for path in checkpoint_folders(run)] == ["000000012"]


def test_words_of_these_tests_are_the_settings_of_the_others(tmp_path: Path) -> None:
    assert load(TrainConfig, words(num_envs=2)) == tiny(num_envs=2)
    assert json.dumps(PLAIN)
    assert play(tiny(steps=6, seed_steps=6), tmp_path)


def test_a_run_that_will_learn_nothing_is_warned_about(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = f"run={tmp_path / 'run'}"
    assert main(["train", *words(steps=10, seed_steps=20, eval_freq=0), run]) == 0
    assert (
        "warning: nothing will be learned: all 10 decisions (steps) are random ones (seed_steps=20)"
        in capsys.readouterr().err
    )
