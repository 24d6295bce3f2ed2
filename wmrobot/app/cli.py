"""The command line: a table of verbs, one line per user error, callable from a test.

Nothing heavy is imported before a verb is chosen.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from wmrobot import __version__
from wmrobot.app.bare_words import is_override, name_subject
from wmrobot.app.exit_codes import INTERRUPTED, exit_code
from wmrobot.app.output import only_documents
from wmrobot.app.usage import group_help, overview, verb_help
from wmrobot.core.errors import ConfigError, unknown


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command. Its module has a dataclass `Config` and `run(cfg, *, json) -> exit code`.

    It may have `settled(cfg) -> Config` too: what settings come to beside a run that they name.

    Attributes:
        module: Where it lives.
        summary: What it does, in one line.
        examples: Command lines for its help.
        has_json: Whether it knows `--json`.
        extends: Verb whose settings its own `Config` inherits.
        plain: Whether its settings are flat words that are read without Hydra.
    """

    module: str
    summary: str
    examples: tuple[str, ...]
    has_json: bool = False
    extends: str | None = None
    plain: bool = False


VERBS: Mapping[str, Verb] = {
    "tasks": Verb(
        module="wmrobot.app.tasks",
        summary="List the tasks: the suite's, our own, or what one of your files holds.",
        examples=(
            "wmrobot tasks",
            "wmrobot tasks walker-run",
            "wmrobot tasks path/to/my_robot.py",
            "wmrobot tasks path/to/my_robot.py:reach --json",
        ),
        has_json=True,
    ),
    "train": Verb(
        module="wmrobot.app.train",
        summary="Learn a world model of a task, and to plan in it.",
        examples=(
            "wmrobot train cartpole-swingup profile=nano run=runs/cartpole",
            "wmrobot train path/to/my_robot.py:reach profile=nano seed=3",
            "wmrobot train reacher-hard profile=nano planner=cem planner.horizon=5",
            "wmrobot train resume=runs/cartpole",
        ),
    ),
    "sweep": Verb(
        module="wmrobot.app.sweep",
        summary="Train tasks x seeds, and compare with published returns; goes on after a kill.",
        examples=(
            "wmrobot sweep benchmarks/sweeps/nano-100k.yaml jobs=2",
            "wmrobot sweep benchmarks/sweeps/nano-100k.yaml jobs=0",
            "wmrobot sweep my_sweep.yaml runs=runs/mine out=results anchors=benchmarks/anchors",
        ),
    ),
    "report": Verb(
        module="wmrobot.app.report",
        summary="Tell a run in one page: curves, losses, and what its model got right.",
        examples=(
            "wmrobot report run=runs/cartpole",
            "wmrobot report run=runs/cartpole out=cartpole.html episodes=10 horizon=32",
        ),
    ),
    "evaluate": Verb(
        module="wmrobot.app.evaluate",
        summary="Measure a trained controller, or what it is compared with, over whole episodes.",
        examples=(
            "wmrobot evaluate run=runs/cartpole",
            "wmrobot evaluate qube2-swingup agent=prior --json",
        ),
        has_json=True,
    ),
    "export": Verb(
        module="wmrobot.app.export",
        summary="Write a planner as ONNX graphs that run without torch, checked against PyTorch.",
        examples=(
            "wmrobot export run=runs/cartpole out=bundles/cartpole",
            "wmrobot export qube2-swingup out=bundles/qube2 planner.iterations=2",
            "wmrobot export qube2-swingup out=bundles/many batch=dynamic precision=fp16 --json",
        ),
        has_json=True,
    ),
    "drive": Verb(
        module="wmrobot.app.drive",
        summary="Drive a robot in real time with an exported planner, behind a guard.",
        examples=(
            "wmrobot drive bundle=bundles/qube2",
            "wmrobot drive bundle=bundles/qube2 sim.obs_delay_ms=20 sim.loss=0.01 seconds=60",
            "wmrobot drive bundle=bundles/qube2 robot=udp://192.168.1.20:7000 seconds=30 --json",
            "wmrobot drive bundle=bundles/qube2 view=true",
            "wmrobot drive replay=runs/drive-qube2-swingup/flight.mcap",
        ),
        has_json=True,
        plain=True,
    ),
    "demo": Verb(
        module="wmrobot.app.demo",
        summary="Watch a robot being driven; without a task, also learn to drive one first.",
        examples=(
            "wmrobot demo",
            "wmrobot demo qube2-swingup",
            "wmrobot demo qube2-swingup agent=zero",
            "wmrobot demo run=runs/cartpole view=true",
        ),
    ),
    "view": Verb(
        module="wmrobot.app.view",
        summary="See a robot, and what its planner imagines, in a browser; steer and push it.",
        examples=(
            "wmrobot view walker-walk",
            "wmrobot view run=runs/cartpole port=9000",
            "wmrobot view bundle=bundles/qube2 open=true",
            "wmrobot view replay=runs/drive-qube2-swingup/flight.mcap",
        ),
    ),
    "bench": Verb(
        module="wmrobot.app.bench",
        summary="Time planning, learning and simulation on this machine.",
        examples=(
            "wmrobot bench",
            "wmrobot bench profile=base 'parts=[plan,update]' --json > bench.json",
        ),
        has_json=True,
        extends="train",
    ),
    "info": Verb(
        module="wmrobot.app.info",
        summary="Tell versions, device and renderer, or what a controller or a bundle is for.",
        examples=(
            "wmrobot info",
            "wmrobot info run=runs/cartpole --json",
            "wmrobot info bundle=bundles/qube2",
        ),
        has_json=True,
    ),
}

HELP = ("--help", "-h")
CFG = "--cfg"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; user errors become one line on stderr and exit code 2."""
    # Threads of torch that wait for each other must not burn the core that another process needs.
    # Too little waiting is worse, where waking a thread is slow: decision 0011 has the figures.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        done = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return done
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return code


def _dispatch(words: list[str]) -> int:
    """Find the verb, read its settings, run it."""
    if len(words) > 1 and words[0] in (*HELP, "help"):  # `help train` is `train --help`
        words = [words[1], "--help", *words[2:]]
    if not words or words[0] in (*HELP, "help"):
        print(overview({name: verb.summary for name, verb in VERBS.items()}))
        return 0
    if words[0] == "--version":
        print(f"wmrobot {__version__}")
        return 0
    name, *words = words
    if name not in VERBS:
        raise ConfigError(unknown("verb", name, VERBS))
    verb = VERBS[name]
    if CFG in words:  # as Hydra's `--cfg job`; there is nothing else to show
        words = [word for word in words if word != "job"]
    flags = {word for word in words if word.startswith("-")}
    _check_flags(name, verb, flags)
    module = import_module(verb.module)
    if flags.intersection(HELP):
        print(_help(name, verb, module.Config, words))
        return 0
    settings = [word for word in words if word not in flags]
    cfg = _load(name, module.Config, settings, plain=verb.plain)
    if CFG in flags:
        from wmrobot.app.config import show

        print(show(module.settled(cfg) if hasattr(module, "settled") else cfg), end="")
        return 0
    json = "--json" in flags
    if find_spec("triton") is not None:  # MuJoCo, where MUJOCO_GL is set, loads OpenGL at import
        from wmrobot.envs.render import load_triton

        load_triton()
    with only_documents() if json else nullcontext():
        return int(module.run(cfg, json=json))


def _help(name: str, verb: Verb, config: type[Any], words: Sequence[str]) -> str:
    """Help on the group of settings that the words name, else on the verb."""
    settings = [field.name for field in fields(config)]
    groups = {key: text for key in settings if (text := group_help(name, config, key))}
    if named := [word for word in words if word in groups]:
        return groups[named[0]]
    after = words[min(words.index(flag) for flag in HELP if flag in words) + 1 :]
    for word in after:  # before the flag stands what would have been run
        if not (word.startswith("-") or is_override(word) or word in settings):
            kind = "group of settings" if groups else "setting"
            raise ConfigError(f"{name} --help: {unknown(kind, word, groups or settings)}")
    told = (name, verb.summary, verb.examples, config)
    return verb_help(*told, extends=verb.extends, has_json=verb.has_json)


def _check_flags(name: str, verb: Verb, flags: set[str]) -> None:
    known = [*HELP, *([] if verb.plain else [CFG]), *(["--json"] if verb.has_json else [])]
    for flag in sorted(flags.difference(known)):
        raise ConfigError(
            f"{name}: {unknown('flag', flag, known)}. Settings are written key=value, without --"
        )


def _load(name: str, config: type[Any], words: Sequence[str], *, plain: bool) -> Any:
    """Settings of a verb."""
    names = {field.name for field in fields(config)}
    needs = any(f.default is MISSING and f.default_factory is MISSING for f in fields(config))
    if not words and "profile" not in names and not needs:
        return config()  # nothing to compose: works where Hydra is not installed
    overrides = name_subject(name, names, words)
    for key, equals, value in (word.partition("=") for word in overrides):
        if equals and not value.strip():  # an unset variable of the shell, most often
            raise ConfigError(f"{key}: expected a value, got none; leave it out for its default")
    if plain:
        from wmrobot.app.key_values import load_plain

        return load_plain(config, overrides)
    from wmrobot.app.config import load

    return load(config, overrides)
