"""The dm_control suite under TD-MPC2's names, set up as its published curves were.

The table is written out so that listing names costs no import of dm_control (half a second); a
test holds it against the suite.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wmrobot.core.seeds import legacy_seed
from wmrobot.envs.task import TaskInfo

SUITE: dict[str, tuple[str, ...]] = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "two_poles",
        "three_poles",
    ),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
"""Tasks of each domain, as the suite spells them."""

ALIASES = {"ball_in_cup": "cup", "point_mass": "pointmass"}
"""What TD-MPC2 calls a domain, where it differs from the suite."""

CAMERAS: dict[str, tuple[int | str, ...]] = {"quadruped": (2,)}
"""Benchmark cameras, where not the first."""


def suite_names() -> dict[str, tuple[str, str]]:
    """Canonical name -> the suite's domain and task, for instance `cup-catch`."""
    return {
        f"{ALIASES.get(domain, domain)}-{task}".replace("_", "-").lower(): (domain, task)
        for domain, tasks in SUITE.items()
        for task in tasks
    }


def find_suite_task(name: str) -> str | None:
    """Canonical name of a suite task in any accepted spelling, or None.

    Case does not matter, nor `-` against `_`, and a domain may bear the suite's name or TD-MPC2's.
    """
    spelled = name.replace("_", "-").lower()
    for domain, alias in ALIASES.items():
        long = domain.replace("_", "-") + "-"
        if spelled.startswith(long):
            spelled = f"{alias}-{spelled.removeprefix(long)}"
    return spelled if spelled in suite_names() else None


def suite_info(name: str) -> TaskInfo:
    """Action repeat 2, 500 decisions an episode, the benchmark's camera."""
    domain, _ = suite_names()[name]
    return TaskInfo(
        action_repeat=2,
        episode_decisions=500,
        cameras=CAMERAS.get(domain, (0,)),
        episodic=domain == "lqr",
    )


def load_suite(name: str, seed: int) -> Any:
    """Build a suite task, a `dm_control.rl.control.Environment`."""
    from dm_control import suite

    domain, task = suite_names()[name]
    with _quiet_absl():
        env = suite.load(domain, task, task_kwargs={"random": legacy_seed(seed)})
    if domain == "lqr":
        _bound_actuators(env.physics)
    if (domain, task) == ("quadruped", "escape"):
        _forget_rendering(env.physics)
    return env


@contextmanager
def _quiet_absl() -> Iterator[None]:
    """Keep to ourselves what MuJoCo 3.17 says of deprecated words in the suite's own models."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _bound_actuators(physics: Any) -> None:
    """Bound lqr's actions to [-1, 1]: its actuators have no range that could be scaled to."""
    physics.model.ptr.actuator_ctrllimited[:] = 1
    physics.model.ptr.actuator_ctrlrange[:] = (-1.0, 1.0)


def _forget_rendering(physics: Any) -> None:
    """Hide the rendering context that quadruped-escape opens at every reset to upload its terrain.

    Opening it fails where there is no OpenGL; wmrobot draws through contexts of its own.
    """
    kind = type(physics)
    physics.__class__ = type(kind.__name__, (kind,), {"contexts": None})
