"""A sweep as a file: tasks, seeds and words of `train`; and the runs that it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wmrobot.app.config import load
from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.training.run_file import SUMMARY_FILE, read_settings
from wmrobot.app.training.settings import TrainConfig, settle_places
from wmrobot.core.config import build, flatten, to_plain
from wmrobot.core.errors import CheckpointError, ConfigError, unknown
from wmrobot.core.spec import file_name
from wmrobot.envs.registry import canonical_name, task_info

RESERVED = ("task", "seed", "run", "resume", "save_episodes")
State = Literal["finished", "begun", "new"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep's file says.

    Attributes:
        tasks: Tasks to learn.
        seeds: Seeds of each, fixed beforehand.
        settings: Words of `train` for every run.
        task_settings: Further words for some of the tasks, by task; they come after.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...] = ()
    task_settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tasks", "seeds"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"{name}: expected at least one, got none")
            if len(set(values)) < len(values):
                raise ConfigError(f"{name}: expected each once, got {list(values)}")
        for task in self.task_settings:
            if task not in self.tasks:
                raise ConfigError(unknown("task of this sweep", task, self.tasks))
        for word in (*self.settings, *(w for ws in self.task_settings.values() for w in ws)):
            if word.partition("=")[0].lstrip("+") in RESERVED:
                raise ConfigError(f"settings: expected no {word}; the sweep decides it itself")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a sweep.

    Attributes:
        task: Canonical name.
        seed: Its seed.
        folder: Where it lives.
        words: What to say to `train` to begin it.
        settings: What that means.
    """

    task: str
    seed: int
    folder: Path
    words: tuple[str, ...]
    settings: TrainConfig

    def state(self) -> State:
        """How far it has come, by what lies in its folder."""
        if not (self.folder / RUN_FILE).exists():
            return "new"
        return "finished" if (self.folder / SUMMARY_FILE).exists() else "begun"

    def refuse_another(self) -> None:
        """Refuse a folder that holds a run of other settings.

        Raises:
            CheckpointError: It does; the message names the first difference.
        """
        if self.state() == "new":
            return
        theirs = _told(read_settings(self.folder))
        ours = _told(settle_places(self.settings))
        free = {"run"} if any(w.startswith("threads=") for w in self.words) else {"run", "threads"}
        for name in dict.fromkeys([*ours, *theirs]):
            if name not in free and ours.get(name) != theirs.get(name):
                raise CheckpointError(
                    f"{self.folder}: expected the sweep's run with {name}={ours.get(name)}, got "
                    f"one with {theirs.get(name)}; choose another runs=, or move it away"
                )

    def with_threads(self, threads: int) -> "Run":
        """The same on that many threads, where its words do not tell."""
        if any(word.startswith("threads=") for word in self.words):
            return self
        return replace(self, words=(*self.words, f"threads={threads}"))


def read_plan(path: Path) -> Plan:
    """Read a sweep's file.

    Raises:
        ConfigError: It is missing, no YAML, or says something that a sweep does not know.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected a sweep as YAML") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: expected a sweep as YAML, got a folder") from None
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, got {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected tasks, seeds and settings by name, got {values!r}")
    try:
        return build(Plan, {str(name): value for name, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def list_runs(plan: Plan, folder: Path) -> list[Run]:
    """All runs of a sweep, seed by seed, so that each task has one curve early.

    Args:
        plan: What the file says.
        folder: Where runs live: `<folder>/<task>/seed-<seed>`.

    Raises:
        ConfigError: A word is none of `train`'s.
        TaskError: There is no such task.
    """
    names = [canonical_name(task) for task in plan.tasks]
    for name in names:
        task_info(name)  # a file that is not there is told now, not when its turn comes
    if len(set(names)) < len(names):
        raise ConfigError(f"tasks: expected each once, got {names}")
    if len({file_name(name) for name in names}) < len(names):
        raise ConfigError(
            f"tasks: expected different names of files or functions, for the folders, got {names}"
        )
    composed = {}
    for task, name in zip(plan.tasks, names, strict=True):
        words = (f"task={name}", *plan.settings, *plan.task_settings.get(task, ()))
        composed[name] = words, load(TrainConfig, words)
    return [
        _run(name, seed, folder / file_name(name) / f"seed-{seed}", *composed[name])
        for seed in plan.seeds
        for name in names
    ]


def _run(task: str, seed: int, place: Path, words: Sequence[str], shared: TrainConfig) -> Run:
    return Run(
        task=task,
        seed=seed,
        folder=place,
        words=(*words, f"seed={seed}", f"run={place}"),
        settings=replace(shared, seed=seed, run=str(place)),
    )


def _told(settings: TrainConfig) -> dict[str, Any]:
    return dict(flatten(to_plain(settings)))
