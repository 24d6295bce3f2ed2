"""Pictures without OpenGL: MuJoCo casts one ray per pixel, NumPy shades what it hits.

Lights, materials, planes' patterns, the sky, sites and tendons are drawn much as OpenGL does.
Left out: shadows, mirror images of anything but the sky, highlights, skins, orthographic cameras,
and what is behind a half-transparent geom.
"""

import functools
from dataclasses import dataclass

import mujoco
import numpy as np

from wmrobot.core.errors import TaskError
from wmrobot.envs.scene import Physics, SceneView
from wmrobot.envs.texture import bake_sky, colour_texture, look_up, mean_colour, plane_patterns

_DEFAULT_RGBA = np.full(4, 0.5, dtype=np.float32)  # a geom of this colour shows its material's
_DEFAULT_RGBA[3] = 1


@dataclass(frozen=True, kw_only=True)
class _Eye:
    """A pinhole camera and its P pixels.

    Attributes:
        origin: (3,) where all rays start [m].
        rays: (P, 3) float64 directions, of depth one.
        length: (P,) their lengths.
        pixel: Extent of a pixel at depth one [m].
    """

    origin: np.ndarray
    rays: np.ndarray
    length: np.ndarray
    pixel: float


class RayRenderer:
    """Draws one simulation by casting rays. Deterministic; needs no graphics library.

    Args:
        physics: The simulation to draw.
        height: Rows of a picture.
        width: Columns of a picture.
    """

    def __init__(self, physics: Physics, height: int, width: int) -> None:
        self._view = SceneView(physics)
        self._shape = (height, width)
        pixels = height * width
        self._geom = np.empty(pixels, dtype=np.int32)
        self._depth = np.empty(pixels)
        self._normal = np.empty((pixels, 3))
        self._bake()

    def picture(self, camera: int | str = 0) -> np.ndarray:
        """What the camera sees now: (height, width, 3) uint8, a fresh array, top row first."""
        if self._view.update(camera):
            self._bake()
        eye = _open_eye(self._view.scene, *self._shape)
        mujoco.mj_multiRay(
            self._view.model,
            self._view.data,
            eye.origin,
            eye.rays.ravel(),
            self._view.option.geomgroup,
            1,
            -1,
            self._geom,
            self._depth,
            self._normal.ravel(),
            len(eye.rays),
            mujoco.mjMAXVAL,  # planes count as being where their centre is: cut none
        )
        colour = look_up(self._sky, eye.rays[:, 2] / eye.length)
        hit = np.flatnonzero(self._geom >= 0)
        if hit.size:
            colour[hit] = self._shade(eye, hit)
        if self._has_decor:
            self._draw_decor(eye, colour)
        pixels: np.ndarray = (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
        return pixels.reshape(*self._shape, 3)

    def close(self) -> None:
        """Nothing to free."""

    def _bake(self) -> None:
        """What a model's pictures have in common."""
        model = self._view.model
        self._sky = bake_sky(model)
        self._planes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
        self._patterns = plane_patterns(model)
        self._tint = np.ones((model.ngeom, 3), dtype=np.float32)
        for geom in set(range(model.ngeom)) - set(self._patterns):
            if (texture := colour_texture(model, geom)) >= 0:
                self._tint[geom] = mean_colour(model, texture)
        self._has_decor = bool(model.nsite or model.ntendon)

    def _shade(self, eye: _Eye, hit: np.ndarray) -> np.ndarray:
        """Colours (K, 3) of the K pixels in `hit`, which see a geom."""
        geom = self._geom[hit]
        depth = self._depth[hit].astype(np.float32)
        ray = eye.rays.take(hit, axis=0).astype(np.float32)
        normal = self._normal.take(hit, axis=0).astype(np.float32)
        point = ray * depth[:, None] + eye.origin.astype(np.float32)
        rgb, emission, reflectance = _materials(self._view.model)
        light = _illuminate(self._view.scene, point, normal) + emission[geom, None]
        colour: np.ndarray = np.minimum(rgb.take(geom, axis=0) * light, 1)
        colour *= self._tint.take(geom, axis=0)  # OpenGL clips before it textures
        for plane in self._planes:
            rows = np.flatnonzero(geom == plane)
            axes = self._view.data.geom_xmat[plane].reshape(3, 3).astype(np.float32)
            slope = -(ray[rows] @ axes[:, 2])
            if (pattern := self._patterns.get(int(plane))) is not None:
                centre = self._view.data.geom_xpos[plane].astype(np.float32)
                xy = (point[rows] - centre) @ axes[:, :2]
                footprint = depth[rows] * eye.pixel / np.sqrt(np.maximum(slope, 1e-4))
                colour[rows] *= pattern.sample(xy, footprint)
            if (share := reflectance[plane]) > 0:  # mirrors the sky only
                up = (ray[rows, 2] + 2 * slope * axes[2, 2]) / eye.length[hit[rows]]
                colour[rows] = (1 - share) * colour[rows] + share * look_up(self._sky, up)
        return colour

    def _draw_decor(self, eye: _Eye, colour: np.ndarray) -> None:
        """Draw sites and tendons, which rays do not hit, where they are in front."""
        depth = np.where(self._geom >= 0, self._depth, np.inf)
        for thing in self._view.scene.geoms[: self._view.scene.ngeom]:
            if thing.objtype not in (mujoco.mjtObj.mjOBJ_SITE, mujoco.mjtObj.mjOBJ_TENDON):
                continue
            pixels, where, normal = _cast_at(thing, eye, depth)
            if not pixels.size:
                continue
            depth[pixels] = where
            point = eye.rays[pixels] * where[:, None] + eye.origin
            light = _illuminate(self._view.scene, point.astype(np.float32), normal)
            alpha = thing.rgba[3]
            lit = thing.rgba[:3] * (light + thing.emission)
            colour[pixels] = (1 - alpha) * colour[pixels] + alpha * lit


def _open_eye(scene: mujoco.MjvScene, height: int, width: int) -> _Eye:
    left, right = scene.camera[0], scene.camera[1]  # a stereo pair: we look from between
    if left.orthographic:
        raise TaskError(
            "render=ray: expected a perspective camera, got an orthographic one; use OpenGL"
        )
    near = left.frustum_near
    top, bottom = left.frustum_top / near, left.frustum_bottom / near
    half = left.frustum_width / near or (top - bottom) / 2 * width / height
    centre = (left.frustum_center + right.frustum_center) / 2 / near
    plane, length = _image_plane(height, width, top, bottom, centre - half, centre + half)
    forward, up = left.forward.astype(float), left.up.astype(float)
    basis = np.stack([np.cross(forward, up), up, forward])
    origin = (left.pos.astype(float) + right.pos) / 2
    return _Eye(origin=origin, rays=plane @ basis, length=length, pixel=(top - bottom) / height)


@functools.lru_cache(maxsize=8)
def _image_plane(
    height: int, width: int, top: float, bottom: float, left: float, right: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (P, 3) of the pixels at depth one in the camera's frame, and their distances (P,)."""
    x = left + (right - left) * (np.arange(width) + 0.5) / width
    y = top + (bottom - top) * (np.arange(height) + 0.5) / height
    plane = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1).reshape(-1, 3)
    return plane, np.linalg.norm(plane, axis=1)


def _materials(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour (G, 3), emission (G,) and reflectance (G,) of every geom, as they are now."""
    rgba = model.geom_rgba.copy()
    material = model.geom_matid
    if not model.nmat:
        zero = np.zeros(model.ngeom, dtype=np.float32)
        return rgba[:, :3], zero, zero
    dressed = material >= 0
    plain = dressed & (rgba == _DEFAULT_RGBA).all(axis=1)
    rgba[plain] = model.mat_rgba[material[plain]]
    emission = np.where(dressed, model.mat_emission[material], 0)
    return rgba[:, :3], emission, np.where(dressed, model.mat_reflectance[material], 0)


def _illuminate(scene: mujoco.MjvScene, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Light (N, 3) that points (N, 3) with unit normals (N, 3) send back, as OpenGL reckons.

    Ambient and diffuse; where it exceeds 1, OpenGL clips it.
    """
    total = np.zeros_like(point)
    for light in scene.lights[: scene.nlight]:
        if light.type == mujoco.mjtLightType.mjLIGHT_DIRECTIONAL:
            facing = np.maximum(-(normal @ light.dir), 0)
        else:
            towards = light.pos - point
            distance = np.sqrt(np.einsum("ij,ij->i", towards, towards)) + 1e-9
            facing = np.maximum(np.einsum("ij,ij->i", towards, normal) / distance, 0)
            constant, linear, quadratic = light.attenuation
            facing /= constant + distance * (linear + distance * quadratic)
            if light.type == mujoco.mjtLightType.mjLIGHT_SPOT and light.cutoff < 180:
                beam = -(towards @ light.dir) / distance
                inside = beam >= np.cos(np.deg2rad(light.cutoff))
                facing *= np.where(inside, np.maximum(beam, 0) ** light.exponent, 0)
        total += light.ambient + facing[:, None] * light.diffuse
    return total


def _cast_at(
    thing: mujoco.MjvGeom, eye: _Eye, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a primitive is nearer than `depth` (P,): pixels, depth (K,), normals (K, 3)."""
    size, mat = thing.size.astype(float), thing.mat.astype(float).ravel()
    kind = mujoco.mjtGeom(thing.type)
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER):
        radius = float(np.hypot(size[0], size[0]) + size[2])
        size = np.array(
            [size[0], size[2], 0.0]
        )  # (r, r, half length) in a scene, (r, half length) here
    else:
        radius = float(np.linalg.norm(size))
    centre = thing.pos.astype(float)
    offset = centre - eye.origin
    along = eye.rays @ offset / eye.length**2
    gap = eye.rays * along[:, None] - offset
    near = np.flatnonzero((np.einsum("ij,ij->i", gap, gap) < radius**2) & (along > 0))
    distance, normal = np.empty(near.size), np.empty((near.size, 3))
    for i, pixel in enumerate(near):
        distance[i] = mujoco.mju_rayGeom(
            centre, mat, size, eye.origin, eye.rays[pixel], kind, normal[i]
        )
    front = np.flatnonzero((distance >= 0) & (distance < depth[near]))
    return near[front], distance[front], normal[front].astype(np.float32)
