"""Films of recordings, drawn in a process of their own while the robot drives on."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, overload

import numpy as np

from wmrobot.app.showing.video import write_mp4
from wmrobot.core.errors import ConfigError, WmrobotError
from wmrobot.envs.vector import VectorEnv
from wmrobot.view.looks import shapes_of, wear
from wmrobot.view.recorded.recording import SUFFIX, Recording

SIZE = 480  # [pixels]
NICENESS = 15


class Filmer:
    """Films recordings of one task, one at a time.

    Args:
        options: How its environment is built.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._film: Path | None = None  # that is being made
        self._pipe: Connection | None = None

    def begin(self, path: Path) -> str:
        """Start to film a recording; says where the film will be.

        Raises:
            ConfigError: Another one is still being made.
        """
        if self._film is not None:
            raise ConfigError(f"film: expected one at a time, {self._film} is still being made")
        self._film = path.with_name(path.name.removesuffix(SUFFIX) + ".mp4")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=False)
        context.Process(
            target=_film, args=(path, self._film, self._options, theirs), daemon=True
        ).start()
        theirs.close()
        return f"filming, the robot drives on: {self._film}"

    def news(self) -> str | None:
        """What came of the film, told once; None before that."""
        if self._pipe is None or not self._pipe.poll(0):
            return None
        try:
            told = self._pipe.recv_bytes().decode()
        except EOFError:
            told = f"no film: {self._film} was not finished, the terminal tells why"
        self._pipe.close()
        self._pipe = self._film = None
        return told


def _film(path: Path, film: Path, options: dict[str, Any], pipe: Connection) -> None:
    os.nice(NICENESS)
    try:
        write_film(path, film, options)
        told = f"film: {film}"
    except WmrobotError as error:
        told = f"no film of {path}: {error}"
    pipe.send_bytes(told.encode())


def write_film(path: Path, film: Path, options: Mapping[str, Any]) -> None:
    """Film a recording at its true speed.

    Args:
        path: The recording.
        film: The MP4 to write.
        options: How its task's environment is built.
    """
    recording = Recording.load(path)
    shown: dict[str, Any] = {**options, "obs": "state"}
    with VectorEnv(recording.task, 1, seed=0, **shown) as env:
        env.reset()
        physics = env.physics(0)
        recording.check(path, {} if physics is None else shapes_of(physics.model.ptr))
        write_mp4(film, _Frames(recording, env), 1 / recording.control_dt)


class _Frames(Sequence[np.ndarray]):
    """Pictures of a recording, each drawn when it is asked for."""

    def __init__(self, recording: Recording, env: VectorEnv) -> None:
        self._recording, self._env = recording, env

    def __len__(self) -> int:
        return len(self._recording)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        physics = self._env.physics(0)
        assert physics is not None
        arrays = self._recording.arrays
        with physics.reset_context():
            wear(physics.model.ptr, self._recording.looks_at(index))
            physics.data.qpos[:] = arrays["qpos"][index]
            for name in ("mocap_pos", "mocap_quat"):
                if name in arrays:
                    getattr(physics.data, name)[:] = arrays[name][index]
        camera = 0 if physics.model.ptr.ncam else -1  # -1: MuJoCo's free one
        return self._env.frame(0, SIZE, SIZE, camera)
