"""One name, one environment: the suite, our own tasks, a user's file, Gymnasium.

| name | source |
|---|---|
| `walker-run`, `cup-catch` | dm_control's suite under TD-MPC2's names |
| `qube2-swingup` | a function of `tasks/` marked with `@task` |
| `path/to/file.py:name` | a function of a user's file |
| `gym:Pendulum-v1` | Gymnasium |
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from wmrobot.core.errors import CheckpointError, ConfigError, TaskError, unknown
from wmrobot.core.files import user_path
from wmrobot.core.seeds import derive_seed, legacy_seed
from wmrobot.core.spec import ObsMode, is_same_task
from wmrobot.envs.render import choose_backend
from wmrobot.envs.suite import find_suite_task, load_suite, suite_info, suite_names
from wmrobot.envs.task import Randomization, RenderMode, TaskEnv, TaskInfo
from wmrobot.envs.user_file import find_task_function, held_tasks, own_tasks

GYMNASIUM = "gym:"
MODEL_SUFFIXES = (".xml", ".mjcf", ".urdf", ".mjb")


def task_names() -> tuple[str, ...]:
    """Every listed task, sorted: the suite's and ours."""
    return tuple(sorted({*suite_names(), *own_tasks()}))


def canonical_name(name: str) -> str:
    """The one spelling of a task's name; a user's file becomes an absolute path.

    Raises:
        TaskError: No task is named so, or a file is given without a function's name. Whether a
            named function exists is not checked here.
    """
    if name.startswith(GYMNASIUM):
        return name
    if _is_file(name):
        path, function = _split_file(name)
        return f"{path}:{function}"
    spelled = name.replace("_", "-").lower()
    if spelled in own_tasks():
        return spelled
    found = find_suite_task(name)
    if found is None:
        if Path(name).is_dir():
            raise TaskError(
                f"task: expected a task's name, got the folder {name}; "
                f"a run is run={name}, a bundle bundle={name}"
            )
        if name.lower().endswith(MODEL_SUFFIXES):
            raise TaskError(
                f"task: expected a task's name or path/to/file.py:name, got the model {name}, "
                "which tells no reward; write a function that loads it (docs/own_robot.md has one)"
            )
        raise TaskError(unknown("task", name, task_names()))
    return found


def name_of_own(task: str, own: str, origin: Path, kind: str) -> str:
    """Canonical name of a task that is told beside what was made for it: its file may have moved.

    Args:
        task: Any accepted spelling of the task's name.
        own: Canonical name of the task that it was made for.
        origin: Where that lies.
        kind: What it is: a controller, a run.

    Raises:
        CheckpointError: It was made for another task.
    """
    name = canonical_name(task)
    if not is_same_task(name, own):
        raise CheckpointError(
            f"{origin}: expected a {kind} of {name}, got one of {own}; leave the task out to use "
            "its own"
        )
    return name


def named_tasks(name: str) -> tuple[str, ...]:
    """Canonical names of what a name stands for: one task, or all that `path/to/file.py` holds.

    Raises:
        TaskError: No task is named so, or the file holds none.
    """
    if name.startswith(GYMNASIUM) or not name.endswith(".py"):
        return (canonical_name(name),)
    return tuple(canonical_name(f"{name}:{function}") for function in held_tasks(Path(name)))


def task_info(name: str) -> TaskInfo:
    """What is declared about a task: action repeat, cameras, randomization.

    Raises:
        TaskError: The task cannot be found or its file cannot be imported.
    """
    name = canonical_name(name)
    if name.startswith(GYMNASIUM):
        return TaskInfo()
    if name in suite_names():
        return suite_info(name)
    choose_backend()  # before a task's file imports MuJoCo
    return find_task_function(*_locate(name)).info


def make_env(
    name: str,
    *,
    seed: int,
    obs: ObsMode = "state",
    cameras: Sequence[int | str] | None = None,
    render: RenderMode = "near",
    image_size: int = 64,
    randomization: Randomization | None = None,
) -> TaskEnv:
    """Build one environment.

    Args:
        name: Any accepted spelling of a task's name.
        seed: All randomness of the environment follows from it.
        obs: Modalities of an observation.
        cameras: Cameras that `rgb` sees; None for the task's own.
        render: How `rgb` is drawn.
        image_size: Height and width of `rgb` [pixels].
        randomization: Replaces the one that the task declares.

    Raises:
        ConfigError: There is no such `obs`.
        TaskError: The task cannot be found or built; the message names the cause.
    """
    if obs not in (known := get_args(ObsMode)):
        raise ConfigError(f"obs: expected one of {', '.join(known)}, got {obs}")
    name = canonical_name(name)
    choose_backend()  # before a task's file, or we, import MuJoCo
    info = task_info(name)
    env = _adapt(name, info, seed)
    differences = info.randomization if randomization is None else randomization
    if differences != Randomization():
        from wmrobot.envs.randomization import randomize

        env = randomize(env, differences, derive_seed(seed, "randomization"))
    if obs != "rgb" and env.task_spec.obs_shapes["state"] == (0,):
        raise TaskError(
            f"{name}: expected at least one observed number, got none; obs=rgb sees what it draws"
        )
    from wmrobot.envs.pixels import PixelEnv, check_cameras

    if obs == "state":
        if info.cameras != TaskInfo.cameras:  # a mistake is told now, not with the first picture
            check_cameras(env, info.cameras)
        return env
    seen = info.cameras if cameras is None else tuple(cameras)
    return PixelEnv(env, obs=obs, cameras=seen, mode=render, image_size=image_size)


def _adapt(name: str, info: TaskInfo, seed: int) -> TaskEnv:
    """Build the source's own environment and put the contract around it."""
    if name.startswith(GYMNASIUM):
        from wmrobot.envs.from_gymnasium import GymnasiumTask, make_gymnasium

        return GymnasiumTask(make_gymnasium(name.removeprefix(GYMNASIUM)), name, info, seed)
    import dm_env

    from wmrobot.envs.from_dm import DmTask

    if name in suite_names():
        return DmTask(load_suite(name, seed), partial(load_suite, name), name, info)
    function = find_task_function(*_locate(name))
    built = function(legacy_seed(seed))
    if isinstance(built, dm_env.Environment):
        return DmTask(built, function, name, info, function.blame)
    import gymnasium

    if isinstance(built, gymnasium.Env):
        from wmrobot.envs.from_gymnasium import GymnasiumTask

        return GymnasiumTask(cast(Any, built), name, info, seed, function.blame)
    of_old_gym = any(kind.__module__.partition(".")[0] == "gym" for kind in type(built).__mro__)
    cure = "; shimmy's GymV21CompatibilityV0 makes a gymnasium.Env of it" if of_old_gym else ""
    raise TaskError(
        f"{name}: expected the function to return a dm_env.Environment or a gymnasium.Env, "
        f"got {type(built).__name__}{cure}"
    )


def _is_file(name: str) -> bool:
    return name.endswith(".py") or ".py:" in name


def _split_file(name: str) -> tuple[Path, str]:
    """Absolute path and function of `path/to/file.py:name`."""
    path, colon, function = name.rpartition(":")
    if not colon or not function:
        file = name.rstrip(":")
        held = held_tasks(Path(file))
        raise TaskError(
            f"{name}: expected path/to/file.py:name, got no function's name; "
            f"it holds {', '.join(held)}: write {file}:{held[0]}"
        )
    return user_path(path).resolve(), function


def _locate(name: str) -> tuple[Path, str]:
    """File and function of a canonical name."""
    return _split_file(name) if _is_file(name) else own_tasks()[name]
