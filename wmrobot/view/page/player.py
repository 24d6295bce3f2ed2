"""Shows a recorded episode in the window's own process, again and again, at its true speed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wmrobot.view.recorded.recording import Recording

REST = 1.0  # [s] before it begins again
LATE = 0.1  # [s] that are caught up with
SHOWN = ("qpos", "mocap_pos", "mocap_quat")


class Player:
    """One episode.

    Args:
        path: Its recording, whose `scene` tells the number of its model.
    """

    def __init__(self, path: Path) -> None:
        self._recording = Recording.load(path)
        self._index, self._next = 0, 0.0

    def due(self, now: float) -> Iterator[dict[str, Any]]:
        """States whose time has come, as messages."""
        arrays, dt = self._recording.arrays, self._recording.control_dt
        self._next = max(self._next, now - LATE)
        while now >= self._next:
            message = {name: arrays[name][self._index] for name in SHOWN if name in arrays}
            message["scene"] = int(arrays["scene"][self._index])
            message["tick"], message["cut"] = self._index, self._index == 0
            yield message | {"frame_dt": dt}
            self._next += dt
            self._index += 1
            if self._index == len(self._recording):
                self._index, self._next = 0, now + REST
