"""The planner's panel of a film: rewards earned, returns imagined, and the actions planned next."""

from dataclasses import replace

import numpy as np
from PIL import Image

from wmrobot.app.showing.axes import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE_ORANGE,
    PAPER,
    Axes,
    Board,
    format_tick,
    round_range,
    ticks,
)
from wmrobot.app.showing.trace import EpisodeTrace

WIDTH, HEIGHT = 960, 480
PICTURE_BOX = (16, 52, 412)  # left, top, side
_LEFT, _RIGHT = 516, 936  # of all charts
_ACTIONS_TOP, _ACTIONS_BOTTOM = 280, 444
_MOST_STRIPS = 8  # more actuators are shown as a heat map
_FAN = 6  # former plans that stay visible


class Panel:
    """Draws all of a film's frame but the robot.

    Args:
        trace: The episode.
    """

    def __init__(self, trace: EpisodeTrace) -> None:
        self._trace = trace
        steps, horizon, action_dim = trace.plans.shape
        dt = trace.control_dt
        self._returns = np.cumsum(trace.rewards)
        self._times = np.arange(steps) * dt
        self._past = max(4 * horizon, 24)
        self._reward = Axes(
            left=_LEFT,
            right=_RIGHT,
            top=70,
            bottom=136,
            x=(0.0, max(steps - 1, 1) * dt),
            y=round_range(trace.rewards),
        )
        self._imagined = replace(self._reward, top=170, bottom=236, y=round_range(trace.imagined))
        self._is_heat = action_dim > _MOST_STRIPS
        self._strips = _stack_axes(
            1 if self._is_heat else action_dim, (-self._past * dt, max(horizon, 1) * dt)
        )
        self._base = self._draw_base()

    def draw(self, decision: int) -> Image.Image:
        """The frame (480, 960) of one decision, with room for the robot at `PICTURE_BOX`."""
        board = self._base.copy()
        self._draw_curve(board, self._reward, self._trace.rewards, decision, BLUE)
        self._draw_curve(board, self._imagined, self._trace.imagined, decision, GREEN)
        if self._is_heat:
            self._draw_heat(board, self._strips[0], decision)
        else:
            for actuator, axes in enumerate(self._strips):
                self._draw_strip(board, axes, actuator, decision)
        self._draw_numbers(board, decision)
        return board.finish()

    def _draw_base(self) -> Board:
        """What all frames have in common."""
        board = Board.blank(WIDTH, HEIGHT)
        trace = self._trace
        board.text(16, 26, _shorten(trace.title, 52), size=18, ink=INK)
        left, top, side = PICTURE_BOX
        board.box(left, top, left + side, top + side, FAINT)
        captions = (
            (self._reward, "reward earned", BLUE),
            (self._imagined, "return imagined", GREEN),
        )
        for axes, caption, ink in captions:
            board.dot(_LEFT + 4, axes.top - 13, ink, 4)
            board.text(_LEFT + 13, axes.top - 13, caption, ink=INK)
            axes.draw(board, [], ticks(*axes.y, 3))
        self._imagined.draw(board, ticks(*self._imagined.x, 7), [])
        board.text(_RIGHT, self._reward.top - 13, "over time [s]", anchor="rm")
        self._draw_action_base(board)
        return board

    def _draw_action_base(self, board: Board) -> None:
        names = self._trace.action_names
        y = _ACTIONS_TOP - 13
        board.text(_RIGHT, y, "from now [s]", anchor="rm")
        if self._is_heat:
            legend = [(0, BLUE, "-1"), (40, ORANGE, "+1")]
            board.text(_LEFT + 84, y, f"{len(names)} actuators, done | planned", ink=INK)
        else:
            legend = [(0, BLUE, "actions done"), (100, ORANGE, "planned")]
            legend.append((170, PALE_ORANGE, "planned before"))
        for x, ink, text in legend:
            board.dot(_LEFT + x + 4, y, ink, 4)
            board.text(_LEFT + x + 13, y, text, ink=INK)
        for axes, name in zip(self._strips, names, strict=False):
            board.box(axes.left, axes.top, axes.right, axes.bottom, "#f6f7f9")
            tall = axes.bottom - axes.top > 60 and not self._is_heat
            axes.draw(board, [], [-1, 0, 1] if tall else [])
            if tall:
                board.text(axes.left + 6, axes.top + 9, name)
            elif not self._is_heat:
                middle = (axes.top + axes.bottom) / 2
                board.text(axes.left - 6, middle, _shorten(name, 12), 10, anchor="rm")
        last = self._strips[-1]
        last.draw(board, ticks(*last.x, 8), [])

    def _draw_curve(
        self, board: Board, axes: Axes, values: np.ndarray, decision: int, ink: str
    ) -> None:
        points = axes.place(self._times[: decision + 1], values[: decision + 1])
        board.line(points, ink)
        if np.isfinite(points[-1]).all():
            board.dot(points[-1, 0], points[-1, 1], ink, 3)

    def _draw_strip(self, board: Board, axes: Axes, actuator: int, decision: int) -> None:
        """One actuator: what it did, what it will do, and what was planned before."""
        trace, dt = self._trace, self._trace.control_dt
        horizon = trace.plans.shape[1]
        self._draw_now(board, axes)
        for start in range(max(0, decision - _FAN), decision):
            when = (np.arange(horizon) + start - decision) * dt
            board.line(axes.place(when, trace.plans[start, :, actuator]), PALE_ORANGE, 1.5)
        first = max(0, decision - self._past)
        done = np.repeat(trace.actions[first:decision, actuator], 2)
        edges = np.arange(first - decision, 1) * dt
        board.line(axes.place(np.repeat(edges, 2)[1:-1], done), BLUE, 2)
        ahead = axes.place(np.arange(horizon) * dt, trace.plans[decision, :, actuator])
        board.line(ahead, ORANGE, 2)
        radius = 2.5 if axes.bottom - axes.top > 30 else 1.8
        for x, y in ahead[np.isfinite(ahead).all(axis=1)]:
            board.dot(x, y, ORANGE, radius)

    def _draw_heat(self, board: Board, axes: Axes, decision: int) -> None:
        """All actuators, a row each: blue is -1, orange +1; done before the line, planned after."""
        trace = self._trace
        done = trace.actions[max(0, decision - self._past) : decision]
        missing = np.zeros((self._past - len(done), trace.actions.shape[1]))
        table = np.concatenate([missing, done, trace.plans[decision]]).T  # (A, past + H)
        # NaN is where nobody planned: like zero, as light as the paper
        shade = np.nan_to_num(np.clip(table, -1, 1))[..., None]
        ends = np.where(shade < 0, _rgb(BLUE), _rgb(ORANGE))
        pixels = (_rgb(PAPER) + (ends - _rgb(PAPER)) * np.abs(shade)).astype(np.uint8)
        board.paste(Image.fromarray(pixels), axes)
        self._draw_now(board, axes)

    def _draw_now(self, board: Board, axes: Axes) -> None:
        x = axes.place(np.zeros(1), np.zeros(1))[0, 0]
        board.line(np.array([[x, axes.top], [x, axes.bottom]]), GREY, 1)

    def _draw_numbers(self, board: Board, decision: int) -> None:
        numbers = (
            ("time", f"{self._times[decision]:.2f} s"),
            ("return", format_tick(round(float(self._returns[decision]), 1))),
            ("planning", f"{self._trace.plan_ms[decision]:.1f} ms"),
        )
        for right, (name, value) in zip((_RIGHT - 250, _RIGHT - 130, _RIGHT), numbers, strict=True):
            if "nan" not in value:
                board.text(right, 32, value, size=15, ink=INK, anchor="rm")
                board.text(right, 14, name, anchor="rm")


def _stack_axes(count: int, window: tuple[float, float]) -> list[Axes]:
    """Axes of the action charts, one above the other, over a time window [s]."""
    pitch = (_ACTIONS_BOTTOM - _ACTIONS_TOP) / count
    gap = 2 if count > 1 else 0
    return [
        Axes(
            left=_LEFT,
            right=_RIGHT,
            top=_ACTIONS_TOP + i * pitch + gap,
            bottom=_ACTIONS_TOP + (i + 1) * pitch - gap,
            x=window,
            y=(-1.0, 1.0),
        )
        for i in range(count)
    ]


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]}.."
