"""Textures as a ray caster needs them: the sky by elevation, a plane's pattern at every scale."""

import mujoco
import numpy as np

from wmrobot.core.spec import FloatArray

_SKY_ENTRIES = 256
_SIDE, _UP, _DOWN = 0, 2, 3  # faces of a cube texture
_UPRIGHT = np.array([1, -1], dtype=np.float32)  # a texture's rows run against the plane's y


def bake_sky(model: mujoco.MjModel) -> np.ndarray:
    """Colour of the sky by direction: (256, 3) in [0, 1], from straight down to straight up.

    Only the elevation counts: true of MuJoCo's gradients, a fair summary of others. Black where
    there is no skybox.
    """
    skies = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    if not skies.size:
        return np.zeros((_SKY_ENTRIES, 3), dtype=np.float32)
    image = _texture(model, int(skies[0]))
    width = image.shape[1]
    if image.shape[0] != 6 * width:  # one face, repeated on all sides
        image = np.tile(image[:width], (6, 1, 1))
    strip = slice(
        width // 2 - width // 16, width // 2 + width // 16 + 1
    )  # median: random marks must not show
    rows = np.median(image.reshape(6, width, width, 3)[:, :, strip], axis=2)  # (6, W, 3)
    up = np.linspace(-1, 1, _SKY_ENTRIES)  # z of a unit direction
    flat = np.sqrt(1 - up**2)
    steep = np.abs(up) > flat
    offset = np.where(steep, flat, -up) / np.maximum(
        np.abs(up), flat
    )  # from a face's centre, in [-1, 1]
    row = np.minimum((1 + offset) / 2 * width, width - 1).astype(int)
    face = np.where(steep, np.where(up > 0, _UP, _DOWN), _SIDE)
    colours: FloatArray = rows[face, row].astype(np.float32)
    return colours


def look_up(sky: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Colour (..., 3) of the sky in unit directions whose z is `up` (...,)."""
    colour: np.ndarray = sky[((up + 1) * (0.5 * (_SKY_ENTRIES - 1)) + 0.5).astype(np.intp)]
    return colour


class Pattern:
    """The 2D texture of a plane, averaged at every scale so that far squares blur, not flicker.

    Args:
        model: The model.
        geom: Index of a plane.
        texture: Index of its texture.
    """

    def __init__(self, model: mujoco.MjModel, geom: int, texture: int) -> None:
        material = model.geom_matid[geom]
        half = model.geom_size[geom, :2]  # 0 along an axis without end
        uniform = bool(model.mat_texuniform[material])
        scale = np.where(uniform | (half == 0), 1.0, half)
        self._per_metre = (model.mat_texrepeat[material] / (2 * scale)).astype(np.float32)
        self._start = np.where(half == 0, np.float32(0.5), self._per_metre * half)
        levels = [_square(_texture(model, texture))]
        while levels[-1].shape[0] > 1:
            level = levels[-1]
            levels.append(level.reshape(len(level) // 2, 2, -1, 2, 3).mean(axis=(1, 3)))
        self._texels = np.concatenate([level.reshape(-1, 3) for level in levels])
        self._sides = np.array([len(level) for level in levels])
        self._starts = np.concatenate([[0], np.cumsum(self._sides**2)[:-1]])

    def sample(self, xy: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Colour at points of the plane.

        Args:
            xy: (N, 2) in the plane's frame [m].
            footprint: (N,) extent of a pixel there [m].

        Returns:
            (N, 3) in [0, 1].
        """
        uv = xy * (self._per_metre * _UPRIGHT) + self._start
        texels = np.maximum(footprint * (self._per_metre.max() * self._sides[0]), 1.0)
        level = np.minimum(np.ceil(np.log2(texels)).astype(np.intp), len(self._sides) - 1)
        side = self._sides[level]
        column, row = ((uv - np.floor(uv)) * side[:, None]).astype(np.intp).T
        colour: FloatArray = self._texels[self._starts[level] + row * side + column]
        return colour


def plane_patterns(model: mujoco.MjModel) -> dict[int, Pattern]:
    """Pattern of every plane that has a 2D texture, by geom."""
    patterns = {}
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        texture = colour_texture(model, int(geom))
        if texture >= 0 and model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_2D:
            patterns[int(geom)] = Pattern(model, int(geom), texture)
    return patterns


def colour_texture(model: mujoco.MjModel, geom: int) -> int:
    """Texture that colours a geom, -1 if none."""
    material = model.geom_matid[geom]
    if material < 0:
        return -1
    roles = model.mat_texid[material]
    rgb, rgba = (
        roles[mujoco.mjtTextureRole.mjTEXROLE_RGB],
        roles[mujoco.mjtTextureRole.mjTEXROLE_RGBA],
    )
    return int(max(rgb, rgba))


def mean_colour(model: mujoco.MjModel, texture: int) -> np.ndarray:
    """Mean colour (3,) of a texture, in [0, 1]."""
    colour: FloatArray = _texture(model, texture).mean(axis=(0, 1))
    return colour


def _texture(model: mujoco.MjModel, index: int) -> np.ndarray:
    """Texture (height, width, 3) in [0, 1]."""
    height, width = model.tex_height[index], model.tex_width[index]
    channels, start = model.tex_nchannel[index], model.tex_adr[index]
    data = model.tex_data[start : start + height * width * channels]
    image: FloatArray = data.reshape(height, width, channels)[..., :3].astype(np.float32) / 255
    return image if channels >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _square(image: np.ndarray) -> np.ndarray:
    """The same picture with a power of two on each side, by nearest texel."""
    side = 1 << max(0, int(np.log2(max(image.shape[:2]))))
    rows = (np.arange(side) + 0.5) / side * image.shape[0]
    columns = (np.arange(side) + 0.5) / side * image.shape[1]
    square: FloatArray = image[rows.astype(int)[:, None], columns.astype(int)]
    return square
