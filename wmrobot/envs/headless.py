"""Tasks that speak to OpenGL while they reset, on a machine without it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import mujoco
from dm_control.mujoco.engine import Contexts

from wmrobot.envs.render import choose_backend


class _NoOpenGl:
    """Stands where dm_control keeps its GL and MuJoCo contexts: takes uploads, refuses to draw."""

    ptr = None

    @contextlib.contextmanager
    def make_current(self) -> Iterator["_NoOpenGl"]:
        yield self

    def call(self, function: Callable[..., Any], *_: object) -> None:
        if (
            function is not mujoco.mjr_uploadHField
        ):  # nothing keeps the terrain but the model, which has it
            raise RuntimeError("no OpenGL here: draw with wmrobot.envs.render.make_renderer")

    def free(self) -> None:
        pass


def stand_in_for_gl(physics: Any) -> None:
    """Let quadruped-escape, which uploads its terrain at every reset, live without OpenGL.

    Does nothing where OpenGL is.

    Args:
        physics: dm_control's physics, before its first reset.
    """
    if choose_backend() == "ray":
        physics._contexts = Contexts(gl=_NoOpenGl(), mujoco=_NoOpenGl())  # no public way in 1.0.50
