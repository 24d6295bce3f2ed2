"""MuJoCo's own window onto a robot that is being driven."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wmrobot.core.errors import ConfigError
from wmrobot.envs.vector import VectorEnv


@contextmanager
def live_view(env: VectorEnv, *, enabled: bool) -> Iterator[Callable[[], None]]:
    """Open a window onto the first row of `env`; yields what to call after every decision.

    Args:
        env: Environments stepped in this process.
        enabled: Otherwise nothing is opened.

    Raises:
        ConfigError: The task has no MuJoCo physics to look at.
    """
    if not enabled:
        yield lambda: None
        return
    physics = env.physics(0)
    if physics is None:
        raise ConfigError(f"view=true: {env.task_spec.name} has no MuJoCo physics to show")
    import mujoco.viewer

    with mujoco.viewer.launch_passive(physics.model.ptr, physics.data.ptr) as window:
        yield window.sync
