"""Pictures of a simulation on any machine: which OpenGL is there, and a renderer for it.

Importing this module loads neither MuJoCo nor dm_control: both read `MUJOCO_GL` while they are
imported, so `choose_backend` must speak first.
"""

import logging
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Protocol, cast

import numpy as np

from wmrobot.core.errors import ConfigError
from wmrobot.envs.task import RenderMode

Backend = Literal["egl", "osmesa", "glfw", "ray"]

_CHOICE = "WMROBOT_GL"  # tells the processes that this one starts, so that they need not probe
_NAMES: dict[str, Backend] = {
    **dict.fromkeys(("egl",), "egl"),
    **dict.fromkeys(("osmesa",), "osmesa"),
    **dict.fromkeys(("glfw", "on", "enable", "enabled", "true", "1"), "glfw"),
    **dict.fromkeys(("off", "disable", "disabled", "false", "0"), "ray"),
}
_CURES = {
    "egl": "apt install libegl1 libgl1",
    "osmesa": "apt install libosmesa6",
    "glfw": "start it where there is a display",
}
_PROBE = """
from dm_control import _render
import mujoco
context = _render.Renderer(8, 8)
model = mujoco.MjModel.from_xml_string("<mujoco/>")
with context.make_current() as gl:
    gl.call(mujoco.MjrContext, model, mujoco.mjtFontScale.mjFONTSCALE_50).free()
print("drawn", flush=True)
"""
_log = logging.getLogger(__name__)


class Renderer(Protocol):
    """Draws one simulation, whatever happens to it: resets, reloads, changed models."""

    def picture(self, camera: int | str = 0) -> np.ndarray:
        """What a camera (name, index, -1: the free one) sees now: (height, width, 3) uint8."""
        ...

    def close(self) -> None:
        """Free what was taken from OpenGL."""
        ...


def choose_backend() -> Backend:
    """Settle, once, how this process and its children draw; before MuJoCo is imported.

    A `MUJOCO_GL` of the user's is kept. Without one it is the first that can really draw of EGL,
    a display's OpenGL and OSMesa (tried in a process aside: a broken driver may crash it), else
    MuJoCo's ray caster.

    Returns:
        The backend; `MUJOCO_GL` agrees with it.

    Raises:
        ConfigError: The user's `MUJOCO_GL` is unknown or cannot draw.
    """
    load_triton()
    loaded = sys.modules.get("dm_control._render")
    if loaded is not None:
        return _NAMES.get(loaded.BACKEND or "off", "ray")
    if (chosen := os.environ.get(_CHOICE)) in (*_CURES, "ray"):
        return _settle(cast("Backend", chosen))
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked:
        return _settle(_respect(asked))
    for backend in _candidates():
        if _can_draw(backend):
            return _settle(backend)
    _log.warning(
        "no OpenGL found: pictures come from MuJoCo's ray caster (simpler shading, no shadows). "
        "For the better picture: apt install libegl1 libgl1 (or libosmesa6)"
    )
    return _settle("ray")


def make_renderer(physics: Any, *, height: int, width: int, mode: RenderMode) -> Renderer:
    """Renderer of one simulation.

    Args:
        physics: dm_control's physics, or anything with `.model.ptr` and `.data.ptr`.
        height: Rows of a picture.
        width: Columns of a picture.
        mode: `exact` (pixel for pixel dm_control's), `near`, `fast`, or `ray`, which needs no
            OpenGL and is what every mode becomes where there is none.
    """
    if choose_backend() == "ray" or mode == "ray":
        from wmrobot.envs.raycast import RayRenderer

        return RayRenderer(physics, height, width)
    from wmrobot.envs.gl import QUALITIES, GlRenderer

    return GlRenderer(physics, height, width, QUALITIES[mode])


def _respect(asked: str) -> Backend:
    if asked not in _NAMES:
        raise ConfigError(
            f"MUJOCO_GL: expected egl, osmesa, glfw or off, got '{asked}'; or unset it"
        )
    backend = _NAMES[asked]
    if backend != "ray" and not _can_draw(backend):
        raise ConfigError(
            f"MUJOCO_GL={asked}: expected a working OpenGL, but it cannot draw here; "
            f"{_CURES[backend]}, or unset MUJOCO_GL to let wmrobot choose"
        )
    return backend


def _candidates() -> tuple[Backend, ...]:
    if sys.platform != "linux":
        return ("glfw",)
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return ("egl", "glfw", "osmesa") if has_display else ("egl", "osmesa")


def _can_draw(backend: Backend) -> bool:
    """Whether a process of its own can open a context of MuJoCo's with it (0.3 s)."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**_clean_environment(), **_variables(backend)},
            capture_output=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"drawn" in probe.stdout  # a crash at exit would not matter: the picture was there


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}


def _variables(backend: Backend) -> dict[str, str]:
    if backend in ("egl", "osmesa"):
        return {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    return {"MUJOCO_GL": "off" if backend == "ray" else backend}


def load_triton() -> None:
    """Let Triton, which comes with torch for CUDA, be loaded before any OpenGL.

    Mesa draws with an LLVM of its own: after it, Triton's ends the process (segmentation fault;
    triton 3.7.1 beside Debian 12's Mesa). It takes 0.2 s.
    """
    if find_spec("triton") is not None:
        with suppress(ImportError):
            import_module("triton")


def _settle(backend: Backend) -> Backend:
    os.environ.pop("PYOPENGL_PLATFORM", None)
    os.environ.update(_variables(backend), **{_CHOICE: backend})
    # dm_control would draw with OSMesa and GLFW on threads of its own, which are gone at exit
    # before its contexts are: every user would see the traceback.
    os.environ["DISABLE_RENDER_THREAD_OFFLOADING"] = "1"
    # Mesa's software rasteriser hands small pictures to threads, which costs more than it saves.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    return backend
