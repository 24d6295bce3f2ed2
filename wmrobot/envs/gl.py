"""Pictures by OpenGL: as dm_control draws them, or faster, without what 64 x 64 pixels hardly show.

Measured on the suite (software rendering; mean difference to dm_control in grey levels): `exact` 0;
`near` at most 0.6, 5 to 9 times as fast; `fast` 1 to 10 (floors are lit at few points: reacher's
loses 25), 60 to 100 times as fast. Four stacks instead of six: 10 to 20% of `near`'s time for less
than 0.15 of difference; with 8 slices also 20% of `fast`'s for at most 0.3.
"""

import copy
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import mujoco
import numpy as np

# dm_control remembers which GL context is current on which thread, so one made behind its back
# would corrupt its own `physics.render`. Hence its factory, private as that is (it is pinned).
from dm_control import _render
from dm_control.mujoco import wrapper

from wmrobot.envs.scene import Physics, SceneView

GlMode = Literal["exact", "near", "fast"]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Departures from the model's own quality; None keeps the model's.

    Attributes:
        shadow_size: Side of the shadow map [pixels].
        off_samples: Samples per pixel (multisampling).
        num_slices: Segments around a sphere, capsule or cylinder.
        num_stacks: Segments along one.
        plane_grid: Distance between the vertices of a plane [m], more for very large ones; lights
            are computed at vertices.
        flags: Rendering flags to change.
    """

    shadow_size: int | None = None
    off_samples: int | None = None
    num_slices: int | None = None
    num_stacks: int | None = None
    plane_grid: float | None = None
    flags: dict[mujoco.mjtRndFlag, bool] = field(default_factory=dict)


QUALITIES: dict[GlMode, Quality] = {
    "exact": Quality(),
    "near": Quality(shadow_size=256, off_samples=4, num_slices=12, num_stacks=4),
    "fast": Quality(
        shadow_size=256,
        off_samples=0,
        num_slices=8,
        num_stacks=4,
        plane_grid=1.0,
        flags={mujoco.mjtRndFlag.mjRND_SHADOW: False, mujoco.mjtRndFlag.mjRND_REFLECTION: False},
    ),
}


MOST_CELLS = 10_000
"""Of a plane's grid: humanoid's floor at 1 m would take as long as all the rest of a picture."""


class _ThreadContext(threading.local):
    """The one GL context of a thread, shared by its renderers; the last one to close frees it."""

    def __init__(self) -> None:
        self._gl: Any | None = None

    def acquire(self, width: int, height: int) -> Any:
        """The context, made anew if it was freed."""
        if self._gl is None or self._gl.terminated:
            self._gl = _render.Renderer(width, height)
        return self._gl


_thread = _ThreadContext()


class GlRenderer:
    """Draws one simulation by OpenGL. The thread that asks for the first picture must ask for all.

    Args:
        physics: The simulation to draw.
        height: Rows of a picture.
        width: Columns of a picture.
        quality: What to draw more cheaply than the model asks.
    """

    def __init__(self, physics: Physics, height: int, width: int, quality: Quality) -> None:
        self._view = SceneView(physics, quality.flags)
        self._quality = quality
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._buffer = np.empty((height, width, 3), dtype=np.uint8)
        self._gl: Any = None
        self._context: Any | None = None
        self._planes = np.zeros(0, dtype=np.intp)
        self._baked: tuple[bytes, ...] = ()

    def picture(self, camera: int | str = 0) -> np.ndarray:
        """What the camera sees now: (height, width, 3) uint8, a fresh array, top row first."""
        reloaded = self._view.update(camera)
        if reloaded or self._context is None or self._baked != self._changeable():
            self._bake()
        with self._gl.make_current() as gl:
            gl.call(self._draw)
        return np.ascontiguousarray(self._buffer[::-1])  # OpenGL's first row is the bottom

    def close(self) -> None:
        """Free the OpenGL resources; a later `picture` makes them anew."""
        if self._context is not None:
            self._context.free()
        self._context = None

    def _draw(self) -> None:
        assert self._context is not None
        context = self._context.ptr
        mujoco.mjr_setBuffer(
            mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context
        )  # it shares the GL context
        mujoco.mjr_render(self._rect, self._view.scene, context)
        mujoco.mjr_readPixels(self._buffer, None, self._rect, context)

    def _bake(self) -> None:
        """Upload the model to the GPU. The quality is told to a copy, which is then dropped."""
        self.close()
        self._gl = _thread.acquire(self._rect.width, self._rect.height)
        model = _with_quality(self._view.model, self._rect, self._quality)
        self._context = wrapper.MjrContext(SimpleNamespace(ptr=model), self._gl)
        kinds = self._view.model.geom_type
        self._planes = np.flatnonzero(kinds == mujoco.mjtGeom.mjGEOM_PLANE)
        self._baked = self._changeable()

    def _changeable(self) -> tuple[bytes, ...]:
        """What a reset may change among all that is uploaded once: planes and height fields.

        As bytes of what `_bake` found: to look for the planes anew took 10 us of a picture's 250.
        """
        model = self._view.model
        planes = model.geom_size.take(self._planes, axis=0).tobytes()
        return (planes, model.hfield_data.tobytes()) if model.nhfield else (planes,)


def _with_quality(model: mujoco.MjModel, rect: mujoco.MjrRect, quality: Quality) -> mujoco.MjModel:
    model = copy.copy(model)
    model.vis.global_.offwidth, model.vis.global_.offheight = rect.width, rect.height
    settings = {
        "shadowsize": quality.shadow_size,
        "offsamples": quality.off_samples,
        "numslices": quality.num_slices,
        "numstacks": quality.num_stacks,
    }
    for name, value in settings.items():
        if value is not None:
            setattr(model.vis.quality, name, value)
    if quality.plane_grid is not None:
        planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        area = 4 * model.geom_size[planes, :2].prod(axis=1)
        model.geom_size[planes, 2] = np.maximum(quality.plane_grid, np.sqrt(area / MOST_CELLS))
    return model
