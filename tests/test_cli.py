"""The command line: verbs, one line per user error, JSON alone on stdout."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from tests import bundles
from wmrobot import __version__
from wmrobot.app import cli
from wmrobot.app.cli import VERBS, Verb, main
from wmrobot.app.config import load
from wmrobot.app.extras import EXTRAS
from wmrobot.app.output import emit
from wmrobot.app.training.run_file import write_settings
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.usage import attribute_docs, verb_help
from wmrobot.core.config import alternatives, build, known_keys, to_plain
from wmrobot.core.config import group_classes as groups
from wmrobot.core.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Another group.

    Attributes:
        horizon: How far to look.
    """

    horizon: int = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the test's verb.

    Attributes:
        task: What to do: a name,
            or a file.
        count: How often.
    """

    task: str | None = None
    count: int = 1
    inner: Inner = field(default_factory=Inner)


Run = Callable[..., int]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Puts a function behind the verb `try`."""

    def install(run: Run) -> None:
        monkeypatch.setitem(
            sys.modules, "wmrobot.app.attempt", SimpleNamespace(Config=Config, run=run)
        )
        entry = Verb(
            module="wmrobot.app.attempt", summary="Try.", examples=("wmrobot try",), has_json=True
        )
        monkeypatch.setattr(cli, "VERBS", {"try": entry})

    return install


def test_words_become_settings(verb: Callable[[Run], None]) -> None:
    seen: list[tuple[Config, bool]] = []

    def run(cfg: Config, *, json: bool) -> int:
        seen.append((cfg, json))
        return 7

    verb(run)
    assert main(["try"]) == 7
    assert main(["try", "cup-catch", "count=2", "--json"]) == 7
    assert main(["try", "inner.horizon=5", "a=b/my robot=1.py:reach"]) == 2
    assert main(["try", "inner.horizon=5", "./a=b/my robot=1.py:reach"]) == 7
    assert seen == [
        (Config(), False),
        (Config(task="cup-catch", count=2), True),
        (Config(task="./a=b/my robot=1.py:reach", inner=Inner(horizon=5)), False),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["tarin"],
            "error: no verb named 'tarin'. Did you mean 'train'? "
            "Known: bench, demo, drive, evaluate, export, info, report, sweep, tasks, train, view",
        ),
        (
            ["train", "--json"],
            "error: train: no flag named '--json'. Known: --cfg, --help, -h. "
            "Settings are written key=value, without --",
        ),
        (
            ["tasks", "--seed=1"],
            "error: tasks: no flag named '--seed=1'. Known: --cfg, --help, --json, -h. "
            "Settings are written key=value, without --",
        ),
        (
            ["tasks", "a.py:b", "c"],
            "error: expected key=value, got 'c'; tasks takes one task",
        ),
        (
            ["report", "runs/ok"],
            "error: report: expected run=<folder of a run>, got the task runs/ok alone",
        ),
        (
            ["drive", "cartpole-swingup"],
            "error: drive takes no task, got 'cartpole-swingup'; "
            "a bundle is bundle=<folder>, which wmrobot export writes",
        ),
        (
            ["drive", "runs/a/flight.mcap"],
            "error: drive takes no task, got 'runs/a/flight.mcap'; "
            "a recorded drive is replay=runs/a/flight.mcap",
        ),
        (
            ["evaluate", "cup-catch", "runs/ok"],
            "error: expected key=value, got 'runs/ok'; a run is run=runs/ok",
        ),
        (["train", "cup-catch", "steps", "200"], "error: steps 200: write steps=200"),
        (["train", "steps", "=200"], "error: steps =200: write steps=200"),
        (["train", "cup-catch", "lr", "1e-3"], "error: lr 1e-3: write lr=1e-3"),
        (["train", "planner.horizon", "5"], "error: planner.horizon 5: write planner.horizon=5"),
        (["train", "task", "cup-catch"], "error: task cup-catch: write task=cup-catch"),
        (["train", "cup_catch", "5"], "error: expected key=value, got '5'; train takes one task"),
        (["sweep", "a.yaml", "b"], "error: expected key=value, got 'b'; sweep takes one file"),
        (
            ["train", "--help", "plannr"],
            "error: train --help: no group of settings named 'plannr'. Did you mean 'planner'? "
            "Known: learner, model, planner, replay",
        ),
        (
            ["help", "tasks", "foo"],
            "error: tasks --help: no setting named 'foo'. Known: details, task",
        ),
        (
            ["tasks", "detials=true"],
            "error: no setting named 'detials'. Did you mean 'details'? Known: details, task",
        ),
        (["tasks", "details=2"], "error: details: expected true or false, got 2"),
        (["sweep"], "error: file: expected a value, got none"),
        *(
            (
                words,
                "error: task: expected a name, path/to/file.py:name or gym:<id>, got none; "
                "wmrobot tasks lists the names",
            )
            for words in (["train"], ["train", "profile=nano", "--cfg"])
        ),
        (
            ["train", "robots/beam.xml"],
            "error: task: expected a task's name or path/to/file.py:name, got the model "
            "robots/beam.xml, which tells no reward; write a function that loads it "
            "(docs/own_robot.md has one)",
        ),
        (["report"], "error: report: expected run=<folder of a run>, got none"),
        (["drive", "bundle=x", "cpu=-1"], "error: cpu: expected the number of a core, got -1"),
        (
            ["demo", "view=true"],
            "error: agent, episodes, view: expected a task or run= with them; the tour has its own",
        ),
        (
            ["demo", "qube2-swingup", "steps=5"],
            "error: steps: expected no task or run= with it; only the tour trains",
        ),
    ],
)
def test_user_error_is_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", expected + "\n")


def interrupted(error: Exception) -> Exception:
    """What Ctrl-C becomes where it is caught by somebody else."""
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (CheckpointError("a\n  b"), 2, "error: a b\n"),
        (KeyboardInterrupt(), 130, ""),
        (interrupted(ImportError("initialization failed")), 130, ""),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            2,
            "error: this needs wmrobot[train] (torch is not installed): "
            'pip install ".[train]" in its checkout\n',
        ),
        (
            ModuleNotFoundError("No module named 'wandb'", name="wandb"),
            2,
            "error: this needs wmrobot[wandb] (wandb is not installed): "
            'pip install ".[wandb]" in its checkout\n',
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a"),
            2,
            "error: runs/a: No space left on device\n",
        ),
    ],
)
def test_what_a_user_can_cure_is_told_in_one_line(
    verb: Callable[[Run], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    expected: str,
) -> None:
    def run(cfg: Config, *, json: bool) -> int:
        raise error

    verb(run)
    assert main(["try"]) == code
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(
    "bug", [ValueError("x"), ModuleNotFoundError("x", name="wmrobt"), OSError(errno.EBADF, "x")]
)
def test_bug_keeps_its_traceback(verb: Callable[[Run], None], bug: Exception) -> None:
    def run(cfg: Config, *, json: bool) -> int:
        raise bug

    verb(run)
    with pytest.raises(type(bug)):
        main(["try"])


def test_the_cause_of_a_users_error_is_told_on_request(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(cfg: Config, *, json: bool) -> int:
        try:
            raise ZeroDivisionError("at the bottom")
        except ZeroDivisionError as error:
            raise CheckpointError("told in one line") from error

    verb(run)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["try"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "Traceback (most recent call last):"
    assert "ZeroDivisionError: at the bottom" in told
    assert told[-1] == "error: told in one line"
    for off in ("", "0"):
        monkeypatch.setenv("HYDRA_FULL_ERROR", off)
        assert main(["try"]) == 2
        assert capsys.readouterr().err == "error: told in one line\n"


@pytest.mark.parametrize("asked", [["--cfg"], ["--cfg", "job"]])
def test_settings_are_shown_and_nothing_is_done(
    asked: list[str], verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda cfg, *, json: 1)
    assert main(["try", "cup-catch", *asked, "inner.horizon=5"]) == 0
    assert capsys.readouterr().out == "task: cup-catch\ncount: 1\ninner:\n  horizon: 5\n"


def test_what_is_shown_holds_what_profile_and_task_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "qube2-swingup", "profile=nano", "planner=cem", "--cfg"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    expected = load(TrainConfig, ["task=qube2-swingup", "profile=nano", "planner=cem"])
    assert shown == to_plain(expected)
    assert shown["planner"]["kind"] == "cem"
    assert build(TrainConfig, shown) == expected


def test_what_is_shown_of_a_run_that_goes_on_is_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = load(TrainConfig, ["task=cup-catch", "profile=nano", f"run={tmp_path}", "seed=3"])
    write_settings(tmp_path, own, {})
    assert main(["train", f"resume={tmp_path}", "extend_to=50000", "--cfg"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == to_plain(own) | {"steps": 50_000}
    assert main(["train", f"resume={tmp_path / 'none'}", "--cfg"]) == 2
    assert "expected a run to resume" in capsys.readouterr().err


def test_help_is_made_from_the_settings(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda cfg, *, json: 1)
    assert main(["try", "--help"]) == 0
    assert capsys.readouterr().out == (
        "usage: wmrobot try [task] [key=value ...] [--json]\n"
        "\n"
        "Try.\n"
        "\n"
        "settings and their defaults:\n"
        "  task=null                 What to do: a name, or a file.\n"
        "  count=1                   How often.\n"
        "\n"
        "  inner.                    horizon=3\n"
        "\n"
        "what a group's settings mean: wmrobot try --help <inner>\n"
        "\n"
        "examples:\n"
        "  wmrobot try\n"
    )


def test_help_on_a_group_tells_what_its_settings_mean(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda cfg, *, json: 1)
    for words in (["--help", "inner"], ["inner", "-h"]):
        assert main(["try", *words]) == 0
        assert capsys.readouterr().out == (
            "usage: wmrobot try [task] [inner.key=value ...]\n"
            "\n"
            "Another group.\n"
            "  inner.horizon=3           How far to look.\n"
        )
    for words in (["--help", "count"], ["cup-catch", "count=2", "--help", "--json"]):
        assert main(["try", *words]) == 0
        assert capsys.readouterr().out.startswith("usage: wmrobot try [task] [key=value ...]")


def test_help_is_a_verb_too(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda cfg, *, json: 1)
    for words in ([], ["inner"]):
        assert main(["try", "--help", *words]) == 0
        expected = capsys.readouterr().out
        for spelling in ("help", "--help"):
            assert main([spelling, "try", *words]) == 0
            assert capsys.readouterr().out == expected


def test_help_on_a_choice_tells_each_setting_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "planner"]) == 0
    text = capsys.readouterr().out
    assert all(f"\nplanner={kind}: " in text for kind in ("mppi", "cem", "icem"))
    names = re.findall(r"^  (planner\.\w+)=", text, re.MULTILINE)
    assert sorted(names) == sorted(key for key in known_keys(TrainConfig) if key in names)
    assert {"planner.horizon", "planner.inverse_temperature", "planner.noise_beta"} <= set(names)


@dataclass(frozen=True, kw_only=True)
class Further(Config):
    """Settings of a verb that takes those of another.

    Attributes:
        count: How often at most.
        pace: How fast.
    """

    count: int = 2
    pace: float = 1.0


def test_help_tells_inherited_settings_in_one_line() -> None:
    assert verb_help("more", "Try more.", ("wmrobot more",), Further, extends="try") == (
        "usage: wmrobot more [task] [key=value ...]\n"
        "\n"
        "Try more.\n"
        "\n"
        "settings and their defaults:\n"
        "  count=2                   How often at most.\n"
        "  pace=1.0                  How fast.\n"
        "\n"
        "and all others of try: see `wmrobot try --help`\n"
        "\n"
        "examples:\n"
        "  wmrobot more"
    )


@pytest.mark.parametrize("name", VERBS)
def test_only_a_verb_that_extends_another_inherits_settings(name: str) -> None:
    config, extends = import_module(VERBS[name].module).Config, VERBS[name].extends
    ancestors = [cls for cls in config.__mro__[1:] if is_dataclass(cls)]
    expected = [] if extends is None else [import_module(VERBS[extends].module).Config]
    assert ancestors == expected


@pytest.mark.parametrize("name", VERBS)
def test_every_choice_of_a_setting_is_told(name: str) -> None:
    config = import_module(VERBS[name].module).Config
    for owner in (config, *(c for hint in get_type_hints(config).values() for c in groups(hint))):
        docs = attribute_docs(owner)
        for field_name, hint in get_type_hints(owner).items():
            choices = {str(c) for option in alternatives(hint) for c in get_args(option)
                       if get_origin(option) is Literal and field_name != "kind"}  # fmt: skip
            assert choices <= set(re.findall(r"[\w+]+", docs.get(field_name, ""))), field_name


def test_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and verb.summary in text for name, verb in VERBS.items())
    assert main([]) == 0
    assert capsys.readouterr().out == text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wmrobot {__version__}\n"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_documents_its_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = import_module(VERBS[name].module).Config
    docs = attribute_docs(config)
    assert [f.name for f in fields(config) if not docs.get(f.name)] == []
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100


def run_process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, "-m", "wmrobot", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_info_tells_what_a_bundle_is_for(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = bundles.write(tmp_path / "cart", bundles.random_facts())
    assert main(["info", f"bundle={folder}"]) == 0
    out = capfd.readouterr().out
    assert re.search(r"^task +.*tiny.py:cart$", out, re.MULTILINE)
    assert re.search(
        r"^ +name push, .*scale 2.0, offset 0.0, limits \[-2.0, 2.0\]", out, re.MULTILINE
    )
    assert main(["info", f"bundle={folder}", "run=elsewhere"]) == 2
    assert "bundle: expected it alone" in capfd.readouterr().err
    assert main(["info", str(folder)]) == 2
    assert f"a bundle bundle={folder}\n" in capfd.readouterr().err


def test_info_tells_what_a_card_leaves_open(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "cartpole-swingup"]) == 0
    assert re.search(r"^cameras +none$", capfd.readouterr().out, re.MULTILINE)


TINY = Path(__file__).parent / "fixtures" / "tiny.py"


def test_tasks_of_a_file_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", str(TINY)]) == 0
    head, *rows, _, hint = capfd.readouterr().out.splitlines()
    assert head.split() == ["task", "source", "episode_decisions"]
    held = {"counter": "its own", "counter_twice": "its own", "counter_short": "3", "cart": "5",
            "opaque": "5"}  # fmt: skip
    assert [row.split(maxsplit=2) for row in rows] == [
        [f"{TINY}:{name}", "file", length] for name, length in held.items()
    ]
    assert hint.endswith(f"or wmrobot tasks {TINY} details=true")


def test_one_task_is_told_with_its_names(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["tasks", "cartpole-swingup"]) == 0
    assert capfd.readouterr().out.splitlines()[2:] == [
        "",
        "action_repeat  2",
        "cameras        0",
        "observations   position[0], position[1], position[2], velocity[0], velocity[1]",
        "actions        slide",
    ]
    assert main(["tasks", f"{TINY}:cart"]) == 0
    assert "\ncameras        none; obs=rgb needs cameras=[-1]," in capfd.readouterr().out
    (tmp_path / "pendulum.py").write_text(
        "import gymnasium\ndef swing(seed):\n    return gymnasium.make('Pendulum-v1')\n"
    )
    assert main(["tasks", str(tmp_path / "pendulum.py")]) == 0  # all that it holds is one
    told = capfd.readouterr().out
    assert told.endswith("\nactions        not named by the environment\n")
    assert (
        "\ncameras        none; obs=rgb sees what the environment draws itself, where it does\n"
    ) in told
    assert main(["tasks", "gym:Pendulum-v1", "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["tasks"]
    assert (row["cameras"], row["free_camera"]) == ([], False)


@pytest.mark.realtime
def test_help_is_quick() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        assert run_process("--help").returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("words", [["tasks"], ["tasks", "cup-catch"], ["info"]])
def test_json_of_a_process_is_one_document(words: list[str], tmp_path: Path) -> None:
    result = run_process(*words, "--json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert isinstance(json.loads(result.stdout), dict)


CHATTY_TASK = """
import os, subprocess, sys
import gymnasium
print("chatter")
os.write(1, b"chatter of C")
subprocess.run([sys.executable, "-c", "print('chatter of a child')"], check=True)

def chatty(seed):
    return gymnasium.make("Pendulum-v1")
"""


@pytest.mark.slow
def test_json_is_all_that_reaches_stdout(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CHATTY_TASK, encoding="utf-8")
    result = run_process("tasks", "mine.py:chatty", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["tasks"][0]["obs_dim"] == 3
    assert result.stderr.count("chatter") == 3


def test_document_reaches_a_stream_without_a_file(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(cfg: Config, *, json: bool) -> int:
        sys.stdout.write("chatter")
        emit({"count": cfg.count})
        return 0

    verb(run)
    assert main(["try", "count=3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"count": 3}, "chatter")


def test_reader_that_leaves_early_is_no_error() -> None:
    command = f"set -o pipefail; {sys.executable} -m wmrobot --help | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_every_package_of_an_extra_is_declared() -> None:
    import tomllib
    from importlib.metadata import packages_distributions

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    indirect = {"yaml", "dm_env"}  # of omegaconf, of dm-control
    distributions = packages_distributions()
    for package in EXTRAS.keys() - indirect:
        names = {name.lower().replace("_", "-") for name in distributions.get(package, [package])}
        declared = " ".join(extras[EXTRAS[package]]).lower()
        assert any(name in declared for name in names), package
