"""Films: true speed, every size, and the planner's panel beside the robot."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from imageio.plugins.ffmpeg import get_exe
from imageio_ffmpeg import count_frames_and_secs

from wmrobot.app.showing.axes import (
    BLUE,
    GREEN,
    ORANGE,
    Axes,
    Board,
    format_tick,
    round_range,
    ticks,
)
from wmrobot.app.showing.film_panel import PICTURE_BOX, Panel
from wmrobot.app.showing.trace import EpisodeTrace
from wmrobot.app.showing.video import (
    ComposedFrames,
    compose_frame,
    pick_frames,
    write_episode,
    write_mp4,
)
from wmrobot.core.errors import DataError

RED = (200, 30, 30)


def make_trace(steps: int = 30, action_dim: int = 2, horizon: int = 3) -> EpisodeTrace:
    frame = np.full((40, 50, 3), RED, dtype=np.uint8)
    shape = (steps, horizon, action_dim)
    return EpisodeTrace(
        frames=[frame] * steps,
        rewards=np.linspace(0, 1, steps),
        actions=np.zeros((steps, action_dim)),
        plans=np.full(shape, 0.5),
        imagined=np.linspace(5, 9, steps),
        control_dt=0.05,
        title="test, planner",
        action_names=tuple(f"motor {i}" for i in range(action_dim)),
        plan_ms=np.full(steps, 12.0),
    )


def has(picture: np.ndarray, ink: str) -> bool:
    colour = [int(ink[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - colour).max(axis=-1) < 3).any())


@pytest.mark.parametrize(
    ("count", "fps", "shown"),
    [(50, 20.0, 50), (300, 50.0, 300), (101, 100.0, 51), (1000, 500.0, 112)],
)
def test_a_film_lasts_exactly_as_long_as_its_episode(count: int, fps: float, shown: int) -> None:
    picked, rate = pick_frames(count, fps)
    assert len(picked) == shown
    assert len(picked) / rate == pytest.approx(count / fps, rel=1e-9)
    assert rate <= 60
    assert picked == sorted(set(picked))
    assert picked[0] == 0
    assert picked[-1] >= count - -(-count // shown)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "fps"), [(30, 20.0), (200, 200.0)])
def test_the_encoder_keeps_the_duration(count: int, fps: float, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_mp4(path, [np.zeros((32, 32, 3), dtype=np.uint8)] * count, fps)
    frames, seconds = count_frames_and_secs(path)
    assert frames == len(pick_frames(count, fps)[0])
    assert seconds == pytest.approx(count / fps, abs=0.011)  # ffmpeg tells hundredths
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_get_a_border(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_mp4(path, [np.full((33, 65, 3), RED, dtype=np.uint8)] * 3, 10)
    decode = [get_exe(), "-loglevel", "error", "-i", str(path), "-frames:v", "1"]
    raw = subprocess.check_output([*decode, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
    picture = np.frombuffer(raw, dtype=np.uint8).reshape(34, 66, 3)
    assert np.abs(picture[5:28, 5:60].astype(int) - RED).max() < 8


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "{path}: expected one frame at least, got none"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
            "{path}: frame 1: expected (4, 4, 3) uint8, got (4, 6, 3) uint8",
        ),
        (
            [np.zeros((4, 4, 3), np.float32)],
            "{path}: frame 0: expected (4, 4, 3) uint8, got (4, 4, 3) float32",
        ),
    ],
)
def test_bad_frames_are_refused_and_leave_nothing(
    frames: list[np.ndarray], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    with pytest.raises(DataError) as raised:
        write_mp4(path, frames, 10)
    assert str(raised.value) == message.format(path=path)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_fails_is_quoted(tmp_path: Path) -> None:
    frames = [np.zeros((16, 16, 3), dtype=np.uint8)]
    with pytest.raises(DataError, match=r"the video encoder failed: .*No such file or directory"):
        write_mp4(tmp_path / "missing" / "film.mp4", frames, 10)


def test_a_frame_shows_the_robot_whole_and_undistorted() -> None:
    trace = make_trace()
    picture = compose_frame(trace, Panel(trace), 10)
    assert picture.shape == (480, 960, 3)
    red = np.argwhere((picture == RED).all(axis=-1))
    (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0)
    side = PICTURE_BOX[2]
    assert right - left + 1 == side
    assert (bottom - top + 1) / side == pytest.approx(40 / 50, abs=0.01)


@pytest.mark.parametrize("action_dim", [1, 2, 6, 8, 21])
def test_every_number_of_actuators_is_drawn(action_dim: int) -> None:
    film = ComposedFrames(make_trace(action_dim=action_dim))
    assert len(film) == 30
    last = film[-1]
    for ink in (BLUE, GREEN, ORANGE):
        assert has(last, ink)
    np.testing.assert_array_equal(film[29], last)
    assert (film[5] != last).any()


def test_an_agent_without_a_plan_has_a_film_too(tmp_path: Path) -> None:
    nothing = np.full(30, np.nan)
    trace = replace(make_trace(), plans=np.zeros((30, 0, 2)), imagined=nothing, plan_ms=nothing)
    write_episode(tmp_path / "film.mp4", trace)
    assert (tmp_path / "film.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rewards", np.zeros(3), "trace.rewards: expected shape (30,), got (3,)"),
        ("plans", np.zeros((30, 3, 5)), "trace.plans: expected shape (30, 2), got (30, 5)"),
        ("action_names", ("a",), "trace.action_names: expected shape (2,), got (1,)"),
    ],
)
def test_a_trace_that_does_not_fit_together_is_refused(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(DataError) as raised:
        replace(make_trace(), **{name: value})  # type: ignore[arg-type]
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("low", "high", "at_most", "expected"),
    [
        (0, 1, 3, [0, 0.5, 1]),
        (0, 873, 3, [0, 500]),
        (-0.6, 0.04, 8, [-0.6, -0.5, -0.4, -0.3, -0.2, -0.1, 0]),
    ],
)
def test_ticks_are_round_and_few(
    low: float, high: float, at_most: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(ticks(low, high, at_most), expected, atol=1e-12)


def test_tick_labels_are_short() -> None:
    assert [format_tick(v) for v in (0.30000000000000004, -1e-17, 1500.0, -0.5)] == [
        "0.3",
        "0",
        "1500",
        "-0.5",
    ]


def test_a_range_is_never_empty_and_ignores_nan() -> None:
    assert round_range(np.array([np.nan, 2.0, -1.0])) == (-1.0, 2.0)
    assert round_range(np.zeros(4)) == (0.0, 1.0)
    assert round_range(np.full(2, np.nan)) == (0.0, 1.0)


def test_values_land_where_the_axes_say() -> None:
    axes = Axes(left=10, top=20, right=110, bottom=70, x=(0, 4), y=(-1, 1))
    placed = axes.place(np.array([0.0, 2.0, 4.0]), np.array([-1.0, 0.0, 9.0]))
    np.testing.assert_allclose(placed, [[10, 70], [60, 45], [110, 20]])


def test_a_missing_value_breaks_a_line() -> None:
    board = Board.blank(30, 10)
    board.line(np.array([[0, 5], [10, 5], [np.nan, 5], [20, 5], [30, 5]]), BLUE, 2)
    row = np.asarray(board.finish())[5]
    assert (row[[4, 25]] != 255).any(axis=1).all()
    assert (row[15] == 255).all()
