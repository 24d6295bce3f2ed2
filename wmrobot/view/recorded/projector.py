"""Shows one recording in a window, at the pace and the place that people ask for."""

from collections.abc import Callable
from typing import Any

from wmrobot.core.clock import Clock, SystemClock
from wmrobot.core.errors import ConfigError
from wmrobot.view.controls import Control, by_name, defaults, newest
from wmrobot.view.eye import Eye
from wmrobot.view.recorded.playback import FRAME, Playback

VALUES_EVERY = 0.2  # [s] between two looks at where the sliders stand


class Projector:
    """The loop of a window that plays a recording.

    Args:
        eye: Where it is shown.
        playback: What is played.
        controls: See `drive_layout.playback_controls`.
        facts: What else is known of the recording, by name.
        clock: Keeps the time.
    """

    def __init__(
        self,
        eye: Eye,
        playback: Playback,
        controls: tuple[Control, ...],
        facts: dict[str, str],
        clock: Clock | None = None,
    ) -> None:
        self._eye, self._playback, self._facts = eye, playback, facts
        self._controls, self._clock = by_name(controls), clock or SystemClock()
        self.values = defaults(controls)
        self._told = -VALUES_EVERY

    def run(self, keep_on: Callable[[], bool]) -> None:
        """Play until told otherwise."""
        while keep_on():
            self._hear()
            now = self._clock.now()
            message = self._playback.play(self.values, now)
            if now - self._told >= VALUES_EVERY:
                self._told = now
                message["values"] = dict(self.values)
                message["facts"] = {**message["facts"], **self._facts}
            self._eye.publish(message)
            self._clock.sleep(FRAME)

    def _hear(self) -> None:
        """Do what people asked for."""
        for name, value in newest(self._controls, self._eye.commands()):
            if name not in self._controls:
                continue
            try:
                self._change(name, self._controls[name].check(value))
            except ConfigError as error:
                self._eye.publish({"say": str(error)})
            self._told = -VALUES_EVERY

    def _change(self, name: str, value: Any) -> None:
        if self._controls[name].kind != "button":
            self.values[name] = value
        match name:
            case "position":
                self._playback.position = float(value)
            case "back" | "on":
                self.values["play"] = False
                self._playback.step(1 if name == "on" else -1)
            case "miss":
                self.values["play"] = False
                if not self._playback.next_miss():
                    self._eye.publish({"say": "from here on every tick had a fresh plan"})
