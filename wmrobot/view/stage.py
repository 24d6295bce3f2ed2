"""The robot's place on the page: the model it is of, its motion, and its imagination."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import viser

from wmrobot.view.imagination import Imagination, Imagined
from wmrobot.view.layout import Layout
from wmrobot.view.motion import Motion
from wmrobot.view.scene import Scene

STALE = 4  # decisions for which something imagined is shown


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
        self._mocap: tuple[np.ndarray, np.ndarray] | None = None
        self._seen: np.ndarray | None = None

    def take(self, message: dict[str, Any], now: float) -> None:
        """Take what a message tells of the robot."""
        if "imagined_seen" in message:
            self._seen = message["imagined_seen"]
        if "qpos" in message:
            self._move(message, now)
        if "imagined_qpos" in message:
            self._imagine(message)
        if self._scene is not None:
            self._apply(self._scene, message.get("values", {}))

    def _move(self, message: dict[str, Any], now: float) -> None:
        if message["scene"] != self._number:
            self._load(int(message["scene"]))
        assert self._motion is not None
        qpos, cut = message["qpos"], bool(message.get("cut"))
        self._tick = int(message["tick"])
        self._motion.add(now, qpos, cut=cut, dt=message.get("frame_dt"))
        if "mocap_pos" in message:
            self._mocap = message["mocap_pos"], message["mocap_quat"]
        if self._imagination is not None:
            if cut:
                self._imagination.forget()
            self._imagination.happened(int(message["tick"]), qpos)

    def draw(self, now: float) -> None:
        """Show the present moment."""
        if self._scene is None or self._motion is None:
            return
        qpos, imagined = self._motion.at(now), self._imagined
        if imagined is not None and not 0 <= self._tick - imagined.start <= STALE:
            imagined = None  # the robot has gone on, or another episode has begun
        if qpos is not None:
            self._scene.draw(qpos, self._mocap, imagined)

    def facts(self) -> dict[str, str]:
        """How true the imagination was."""
        if self._imagination is None:
            return {}
        told = [
            f"{100 * error:.1f} cm {ahead} ahead"
            for ahead, error in self._imagination.errors().items()
        ]
        return {"imagined ends off by": ", ".join(told)}

    def _load(self, number: int) -> None:
        """Take another model: at the start, and where a reset has changed what is seen."""
        model = mujoco.MjModel.from_binary_path(str(model_path(self._folder, number)))
        follows = self._layout.follows if self._scene is None else self._scene.follows
        self._scene = Scene(self._server, model, follows=follows)
        self._scene.on_pull(self._pull)
        self._motion = Motion(model, self._layout.frame_dt or self._layout.control_dt)
        self._imagination = self._imagined = None
        self._number = number

    def _imagine(self, message: dict[str, Any]) -> None:
        """Place what was imagined into the scene."""
        if self._scene is None or self._seen is None:
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
