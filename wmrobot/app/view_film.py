"""Films of recordings, drawn in a process of their own while the robot drives on."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from wmrobot.app.video import write_mp4
from wmrobot.core.errors import WmrobotError
from wmrobot.envs.vector import VectorEnv
from wmrobot.view.recording import SUFFIX, Recording

SIZE = 480  # [pixels]
NICENESS = 15


def begin_film(path: Path, options: Mapping[str, Any]) -> str:
    """Start to film a recording; says where the film will be.

    Args:
        path: The recording.
        options: How its task's environment is built.
    """
    film = path.with_name(path.name.removesuffix(SUFFIX) + ".mp4")
    context = multiprocessing.get_context("spawn")
    context.Process(target=_film, args=(path, film, dict(options)), daemon=True).start()
    return f"filming, the robot drives on: {film}"


def _film(path: Path, film: Path, options: dict[str, Any]) -> None:
    os.nice(NICENESS)
    try:
        write_film(path, film, options)
    except WmrobotError as error:
        print(f"no film of {path}: {error}", flush=True)


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
            physics.data.qpos[:] = arrays["qpos"][index]
            for name in ("mocap_pos", "mocap_quat"):
                if name in arrays:
                    getattr(physics.data, name)[:] = arrays[name][index]
        camera = 0 if physics.model.ptr.ncam else -1  # -1: MuJoCo's free one
        return self._env.frame(0, SIZE, SIZE, camera)
