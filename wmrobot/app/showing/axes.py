"""A small drawing board for film frames: axes, curves and labels on a Pillow image.

Everything is drawn at twice its size and halved at the end, which smooths the lines; all
coordinates are final pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SCALE = 2
INK, GREY, FAINT, PAPER = "#22262b", "#6b7280", "#e3e6ea", "#ffffff"
BLUE, ORANGE, GREEN = (
    "#0072b2",
    "#d55e00",
    "#009e73",
)  # Okabe and Ito: apart for the colour-blind too
PALE_ORANGE = "#efb78d"


@lru_cache(maxsize=16)
def load_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font that comes with Pillow, at a size in final pixels."""
    return ImageFont.load_default(size * SCALE)


class Board:
    """A picture to draw on.

    Args:
        picture: Canvas of twice the final size.
    """

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self._draw = ImageDraw.Draw(picture)

    @classmethod
    def blank(cls, width: int, height: int) -> "Board":
        """Empty board of a final size."""
        return cls(Image.new("RGB", (width * SCALE, height * SCALE), PAPER))

    def copy(self) -> "Board":
        """The same drawing, to go on with."""
        return Board(self.picture.copy())

    def finish(self) -> Image.Image:
        """The drawing at its final size."""
        return self.picture.reduce(SCALE)

    def text(
        self, x: float, y: float, text: str, size: int = 11, ink: str = GREY, anchor: str = "lm"
    ) -> None:
        """Write at a point; `anchor` is Pillow's (l, m or r, then m for the middle of the line)."""
        font = load_font(size)
        self._draw.text((x * SCALE, y * SCALE), text, fill=ink, font=font, anchor=anchor)

    def line(self, points: np.ndarray, ink: str, width: float = 1.5) -> None:
        """Draw a polyline through (N, 2) points; a point that is not finite breaks it."""
        breaks = np.flatnonzero(~np.isfinite(points).all(axis=1))
        for piece in np.split(points, breaks):
            whole = piece[np.isfinite(piece).all(axis=1)]
            if len(whole) > 1:
                flat = (whole * SCALE).ravel().tolist()
                self._draw.line(flat, fill=ink, width=round(width * SCALE), joint="curve")

    def dot(self, x: float, y: float, ink: str, radius: float) -> None:
        """Draw a filled circle."""
        self._draw.circle((x * SCALE, y * SCALE), radius * SCALE, fill=ink)

    def box(self, left: float, top: float, right: float, bottom: float, ink: str) -> None:
        """Draw a filled rectangle."""
        corners = (left * SCALE, top * SCALE, right * SCALE - 1, bottom * SCALE - 1)
        self._draw.rectangle(corners, fill=ink)

    def paste(self, picture: Image.Image, axes: "Axes") -> None:
        """Fill the rectangle of axes with a picture, its pixels left sharp."""
        left, top = round(axes.left * SCALE), round(axes.top * SCALE)
        size = (round(axes.right * SCALE) - left, round(axes.bottom * SCALE) - top)
        self.picture.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top))


@dataclass(frozen=True, kw_only=True)
class Axes:
    """A rectangle of the board and the ranges of the values that it shows.

    Attributes:
        left, top, right, bottom: The rectangle [pixels].
        x: Lowest and highest value along it.
        y: Lowest and highest value up it.
    """

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of values (N,); values outside are drawn on the edge."""
        low, high = self.y
        along = (np.asarray(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (np.clip(y, low, high) - low) / (high - low)
        return np.stack(
            [
                self.left + along * (self.right - self.left),
                self.bottom - up * (self.bottom - self.top),
            ],
            axis=-1,
        )

    def draw(self, board: Board, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        """Draw grid lines with their labels: y to the left, x below."""
        for tick in y_ticks:
            y = self.place(np.zeros(1), np.array([tick]))[0, 1]
            board.line(np.array([[self.left, y], [self.right, y]]), FAINT, 1)
            board.text(self.left - 6, y, format_tick(tick), anchor="rm")
        for tick in x_ticks:
            x = self.place(np.array([tick]), np.zeros(1))[0, 0]
            board.line(np.array([[x, self.bottom], [x, self.bottom + 3]]), GREY, 1)
            board.text(x, self.bottom + 11, format_tick(tick), anchor="mm")


def ticks(low: float, high: float, at_most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within a range, `at_most` of them."""
    rough = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < at_most:
            break
    return [k * step for k in range(first, last + 1)]


def format_tick(value: float) -> str:
    """The shortest decimal of a tick."""
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def round_range(values: np.ndarray) -> tuple[float, float]:
    """A range that holds the finite values and zero, and is never empty."""
    finite = values[np.isfinite(values)]
    low = min(0.0, float(finite.min(initial=0.0)))
    high = max(0.0, float(finite.max(initial=0.0)))
    return (low, high) if high - low > 1e-9 else (low, low + 1.0)
