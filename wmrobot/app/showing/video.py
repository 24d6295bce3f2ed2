"""MP4 files at true speed, and beside the robot what its planner imagined."""

import math
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import overload

import numpy as np
from PIL import Image

from wmrobot.app.showing.film_panel import PICTURE_BOX, Panel
from wmrobot.app.showing.trace import EpisodeTrace
from wmrobot.core.errors import DataError, MissingExtraError

MAX_FPS = 60  # what a screen shows


class ComposedFrames(Sequence[np.ndarray]):
    """The film of an episode: (480, 960, 3) pictures, each drawn when it is asked for.

    Args:
        trace: The episode.
    """

    def __init__(self, trace: EpisodeTrace) -> None:
        self._trace = trace
        self._panel = Panel(trace)

    def __len__(self) -> int:
        return len(self._trace.frames)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return compose_frame(self._trace, self._panel, range(len(self))[index])


def compose_frame(trace: EpisodeTrace, panel: Panel, decision: int) -> np.ndarray:
    """Picture (480, 960, 3) uint8 of one decision: the robot, and its planner's panel beside it."""
    canvas = panel.draw(decision)
    left, top, side = PICTURE_BOX
    robot = Image.fromarray(trace.frames[decision])
    scale = side / max(robot.size)
    size = (max(1, round(robot.width * scale)), max(1, round(robot.height * scale)))
    resized = robot if size == robot.size else robot.resize(size, Image.Resampling.BICUBIC)
    canvas.paste(resized, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))
    return np.asarray(canvas)


def write_episode(path: Path, trace: EpisodeTrace) -> None:
    """Write the film of an episode, as long as the episode was."""
    write_mp4(path, ComposedFrames(trace), 1 / trace.control_dt)


def pick_frames(count: int, fps: float) -> tuple[list[int], Fraction]:
    """Which of `count` frames a film shows, and its exact rate, at most 60 pictures a second.

    The film lasts `count / fps` seconds, whatever is left out.
    """
    kept = math.ceil(count / math.ceil(fps / MAX_FPS))
    rate = Fraction(kept, count) * Fraction(fps).limit_denominator(100_000)
    return [i * count // kept for i in range(kept)], rate


def write_mp4(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write pictures as H.264 that every browser plays; odd sizes get a border of one pixel.

    Args:
        path: The file, which appears only when it is complete.
        frames: (height, width, 3) uint8 pictures of one size.
        fps: True rate of the frames [1/s]; above 60 only some are shown, at true speed.

    Raises:
        DataError: No frames, frames of several sizes or dtypes, or the encoder failed.
        MissingExtraError: There is no encoder.
    """
    if not len(frames):
        raise DataError(f"{path}: expected one frame at least, got none")
    picked, rate = pick_frames(len(frames), fps)
    first = frames[0]
    aside = path.with_name(f".{path.name}.part.mp4")
    command = _ffmpeg_command(first.shape, rate, aside)
    try:
        with TemporaryFile() as complaints:
            encoder = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints
            )
            _feed(encoder, frames, picked, path)
            if encoder.returncode:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip()
                raise DataError(f"{path}: the video encoder failed: {said}")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _feed(
    encoder: "subprocess.Popen[bytes]", frames: Sequence[np.ndarray], picked: list[int], path: Path
) -> None:
    """Hand the frames over and wait for the end, come what may."""
    expected = frames[0].shape
    assert encoder.stdin is not None
    try:
        with encoder.stdin as pipe:
            for index in picked:
                frame = frames[index]
                if frame.shape != expected or frame.dtype != np.uint8:
                    raise DataError(
                        f"{path}: frame {index}: expected {expected} uint8, "
                        f"got {frame.shape} {frame.dtype}"
                    )
                pipe.write(np.ascontiguousarray(frame).data)
    except BrokenPipeError:
        pass  # it says why on stderr
    finally:
        encoder.wait()


def _ffmpeg_command(shape: tuple[int, ...], rate: Fraction, path: Path) -> list[str]:
    try:
        from imageio.plugins.ffmpeg import get_exe
    except ImportError:
        raise MissingExtraError(
            "videos need ffmpeg: pip install '.[train]' in its checkout"
        ) from None
    height, width = shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    target = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    size = ["-crf", "23", "-preset", "veryfast", "-tune", "animation", "-movflags", "+faststart"]
    return [
        get_exe(),  # type: ignore[no-untyped-call]
        *("-y", "-loglevel", "error", *source, "-framerate", str(rate), "-i", "-"),
        *("-an", *target, *size, "-threads", "2", str(path)),
    ]
