"""The robot's place on the page: the model it is of, its motion, and its imagination."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import viser

from wmrobot.view.layout import SELDOM, Layout
from wmrobot.view.page.imagination import Imagination, Imagined
from wmrobot.view.page.motion import Motion
from wmrobot.view.page.scene import Scene

SIZES = {
    "qpos": (-1, "nq"), "mocap_pos": (0, "nmocap"), "mocap_quat": (0, "nmocap"),
    "imagined_start": (-1, "nq"), "imagined_qpos": (-1, "nq"), "imagined_qvel": (-1, "nv"),
}  # fmt: skip
"""Axis of a message's part that is as long as one of the model's sizes."""


def model_path(folder: Path, number: int) -> Path:
    """Where the loop writes the model that a message's `scene` names."""
    return folder / f"model-{number}.mjb"


class Stage:
    """Draws what messages tell of a robot; nothing where there is no scene.

    Args:
        server: Whose page it is on.
        folder: Where model files lie.
        layout: What the window is of.
        pull: Called with a body and the force on it while somebody drags it.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        folder: Path,
        layout: Layout,
        pull: Callable[[int, np.ndarray], None],
    ) -> None:
        self._server, self._folder, self._layout, self._pull = server, folder, layout, pull
        self._number = -1
        self._scene: Scene | None = None
        self._motion: Motion | None = None
        self._imagination: Imagination | None = None
        self._imagined: Imagined | None = None
        self._tick = 0
        # decisions for which something imagined is shown: until the next one must have come
        self._lasts = math.ceil(SELDOM / layout.control_dt) + 1
        self._mocap: tuple[np.ndarray, np.ndarray] | None = None
        self._seen: np.ndarray | None = None

    def take(self, message: dict[str, Any], now: float) -> None:
        """Take what a message tells of the robot."""
        if message.get("anew"):
            self._imagination = self._imagined = None
        if "imagined_seen" in message:
            self._seen = message["imagined_seen"]
        if "qpos" in message:
            self._move(message, now)
        if "imagined_qpos" in message and self._fits(message):
            self._imagine(message)
        if self._scene is not None:
            self._apply(self._scene, message.get("values", {}))

    def _move(self, message: dict[str, Any], now: float) -> None:
        if message["scene"] != self._number:
            self._load(int(message["scene"]))
        if message["scene"] != self._number or not self._fits(message):
            return
        assert self._motion is not None
        qpos, cut = message["qpos"], bool(message.get("cut"))
        self._tick = int(message["tick"])
        self._motion.add(now, qpos, cut=cut, dt=message.get("frame_dt"))
        if "mocap_pos" in message:
            self._mocap = message["mocap_pos"], message["mocap_quat"]
        if cut:
            self._imagined = None
        if self._imagination is not None:
            if cut:
                self._imagination.forget()
            self._imagination.happened(int(message["tick"]), qpos)

    def draw(self, now: float) -> None:
        """Show the present moment."""
        if self._scene is None or self._motion is None:
            return
        qpos, imagined = self._motion.at(now), self._imagined
        if imagined is not None and not 0 <= self._tick - imagined.start <= self._lasts:
            imagined = None  # the robot has gone on, or another episode has begun
        if qpos is not None:
            self._scene.draw(qpos, self._mocap, imagined)

    def facts(self) -> dict[str, str]:
        """How true the imagination was."""
        errors = self._imagination.errors() if self._imagination is not None else {}
        told = [f"{100 * error:.1f} cm {ahead} ahead" for ahead, error in errors.items()]
        return {"imagined ends off by": ", ".join(told)}

    def _load(self, number: int) -> None:
        """Take another model: at the start, and where a reset has changed what is seen."""
        model = _read(model_path(self._folder, number))
        if model is None:
            return
        follows = self._layout.follows if self._scene is None else self._scene.follows
        self._scene = Scene(self._server, model, follows=follows)
        self._scene.on_pull(self._pull)
        self._motion = Motion(model, self._layout.frame_dt or self._layout.control_dt)
        self._imagination = self._imagined = self._mocap = None
        self._number = number

    def _fits(self, message: dict[str, Any]) -> bool:
        """Whether a message is of the model that is drawn; one that came late may be of another."""
        scene = self._scene
        return scene is not None and all(
            message[name].shape[axis] == getattr(scene.model, size)
            for name, (axis, size) in SIZES.items()
            if name in message
        )

    def _imagine(self, message: dict[str, Any]) -> None:
        """Place what was imagined into the scene."""
        if self._scene is None or self._seen is None or len(self._seen) != self._scene.model.nq:
            return
        if self._imagination is None:
            dt = self._layout.control_dt
            self._imagination = Imagination(self._scene.model, self._seen, dt)
        self._imagined = self._imagination.place(
            message["imagined_start"],
            message["imagined_qpos"],
            message["imagined_qvel"],
            int(message["imagined_horizon"]),
            int(message["imagined_from"]),
        )
        self._imagination.expect(self._imagined)

    @staticmethod
    def _apply(scene: Scene, values: dict[str, Any]) -> None:
        """What the eye's own controls ask for."""
        scene.follows = bool(values.get("follow", scene.follows))
        scene.set_shadows(bool(values.get("shadows", scene.shows_shadows)))
        scene.shows_ghost = bool(values.get("ghost", scene.shows_ghost))
        scene.shows_lines = bool(values.get("paths", scene.shows_lines))


def _read(path: Path) -> mujoco.MjModel | None:
    """A model; None where its file is gone, because two newer ones have come since."""
    try:
        return mujoco.MjModel.from_binary_path(str(path))
    except ValueError:
        if path.exists():
            raise
        return None
