"""`wmrobot tasks`: which tasks there are, and what one looks like from outside."""

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from wmrobot.app.output import aligned, emit
from wmrobot.envs.registry import make_env, named_tasks, task_info, task_names
from wmrobot.envs.suite import suite_names
from wmrobot.envs.task import TaskInfo

COLUMNS = ("task", "source", "control_hz", "episode_decisions", "obs_dim", "action_dim", "episodic")
WIDTH = 98


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `tasks`.

    Attributes:
        task: Tell about this one only; `path/to/file.py:name` and `gym:<id>` work too, and
            `path/to/file.py` lists what that file holds.
        details: Build every task to tell its sizes and rate (takes some seconds).
    """

    task: str | None = None
    details: bool = False


def run(cfg: Config, *, json: bool) -> int:
    """List tasks as a table or as JSON."""
    names = task_names() if cfg.task is None else named_tasks(cfg.task)
    details = cfg.details or len(names) == 1
    rows = [_describe(name, details) for name in names]
    if json:
        emit({"tasks": rows})
        return 0
    print("\n".join(_table(rows)))
    if len(rows) == 1:
        print("\n" + "\n".join(_facts(rows[0])))
    if not details:
        listed = "" if cfg.task is None else f"{shlex.quote(cfg.task)} "
        print(f"\nsizes and rates: wmrobot tasks <task>, or wmrobot tasks {listed}details=true")
    return 0


def _describe(name: str, details: bool) -> dict[str, Any]:
    """What is declared about a task; with details also what only the built one can tell."""
    info = task_info(name)
    row: dict[str, Any] = {"task": name, "source": _source(name)}
    row["action_repeat"] = info.action_repeat
    if not details:
        return row | {"episode_decisions": info.episode_decisions, "cameras": list(info.cameras)}
    with closing(make_env(name, seed=0)) as env:
        spec, physics = env.task_spec, env.physics
        untold = info.cameras == TaskInfo().cameras
        blind = physics is None or (untold and physics.model.ptr.ncam == 0)
    return row | {
        "control_hz": round(1 / spec.control_dt, 3),
        "control_dt": spec.control_dt,
        "episode_decisions": spec.episode_decisions,
        "episodic": spec.episodic,
        "obs_dim": spec.obs_shapes["state"][0],
        "action_dim": spec.action_dim,
        "obs_names": list(spec.obs_names),
        "action_names": list(spec.action_names),
        "cameras": [] if blind else list(info.cameras),
        "free_camera": physics is not None,
    }


def _source(name: str) -> str:
    if name in suite_names():
        return "suite"
    if name.startswith("gym:"):
        return "gymnasium"
    return "file" if ".py:" in name else "wmrobot"


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Columns that there are values for, aligned."""
    columns = [column for column in COLUMNS if column in rows[0]]
    cells = (
        ["its own" if row[column] is None else str(row[column]) for column in columns]
        for row in rows
    )
    yield from aligned(columns, cells, left=columns)


def _facts(row: Mapping[str, Any]) -> Iterator[str]:
    """What is too long for the table, of one task: its names, wrapped."""
    unnamed = "not named by the environment"
    sight = (
        "needs cameras=[-1], MuJoCo's free one"
        if row["free_camera"]
        else "sees what the environment draws itself, where it does"
    )
    facts = {
        "action_repeat": [str(row["action_repeat"])],
        "cameras": row["cameras"] or [f"none; obs=rgb {sight}"],
        "observations": row["obs_names"] or [unnamed],
        "actions": row["action_names"] or [unnamed],
    }
    indent = max(map(len, facts)) + 2
    for name, values in facts.items():
        yield textwrap.fill(
            ", ".join(map(str, values)),
            WIDTH,
            initial_indent=name.ljust(indent),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
