"""Records what is driven, and plays recordings back in the window."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from wmrobot.core.errors import ConfigError, DataError
from wmrobot.view.controls import Value
from wmrobot.view.driving import NOTHING
from wmrobot.view.playback import Playback
from wmrobot.view.recording import SUFFIX, Recorder, Recording, recordings

FRAME = 1 / 30  # [s] between two pictures of a recording
LOOK_EVERY = 2.0  # [s]
Film = Callable[[Path], str]


class Deck(Protocol):
    """What a tape needs of a driver."""

    values: dict[str, Value]

    def tell(self, **facts: str) -> None:
        """Show lines of text by name."""
        ...

    def say(self, line: str) -> None:
        """Add a line to the window's log."""
        ...


class Tape:
    """Recordings of one task in one folder.

    Args:
        folder: Where they lie; made when the first one is written.
        task: What is driven.
        control_dt: Time between two decisions [s].
        scene: Tells the number of the model that is drawn.
        film: Begins to film a recording, and says what comes of it.
    """

    pause = FRAME

    def __init__(
        self, folder: Path, task: str, control_dt: float, *, scene: Callable[[], int], film: Film
    ) -> None:
        self._folder, self._task, self._dt = folder, task, control_dt
        self._scene, self._film = scene, film
        self._recorder: Recorder | None = None
        self._playing: Playback | None = None
        self._names: tuple[str, ...] = (NOTHING, *recordings(folder))

    @property
    def is_playing(self) -> bool:
        """Whether a recording is shown instead of the robot."""
        return self._playing is not None

    def names(self) -> list[str]:
        """Recordings that there are, after the word for none."""
        return list(self._names)

    def add(self, row: Mapping[str, Any]) -> None:
        """Remember one decision, where it is recording."""
        if self._recorder is not None:
            self._recorder.add(row)

    def change(self, name: str, value: Value, deck: Deck) -> None:
        """Take one of the widgets that are its own.

        Raises:
            ConfigError: There is nothing to film, or the recording cannot be shown.
        """
        match name:
            case "record":
                self._record(bool(value), deck)
            case "film":
                known = recordings(self._folder)
                if not known:
                    raise ConfigError("film: expected a recording, there is none yet")
                deck.say(self._film(list(known.values())[-1]))
            case "recording":
                self._choose(str(value), deck)
            case "position" if self._playing is not None:
                self._playing.position = float(value)

    def play(self, values: dict[str, Value], now: float) -> dict[str, Any]:
        """What to show now of the recording that is playing."""
        assert self._playing is not None
        return {**self._playing.play(values, now), "frame_dt": FRAME}

    def end(self, deck: Deck) -> None:
        """Write what is being recorded, if anything is."""
        self._record(False, deck)

    def _record(self, on: bool, deck: Deck) -> None:
        if on:
            self._recorder = Recorder(self._task, self._dt)
            deck.say("recording")
            return
        recorder, self._recorder = self._recorder, None
        if recorder is None or not len(recorder):
            return
        path = self._folder / f"{datetime.now():%Y%m%d-%H%M%S}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            recorder.finish().save(path)
        except OSError as error:
            raise ConfigError(f"record: {path} cannot be written ({error.strerror})") from None
        self._names = (NOTHING, *recordings(self._folder))
        deck.say(f"{len(recorder)} decisions recorded: {path}")

    def _choose(self, name: str, deck: Deck) -> None:
        if name == NOTHING:
            self._playing = None
            deck.tell(playing="")
            deck.say("the robot drives on")
            return
        try:
            self.load(recordings(self._folder)[name])
        except (KeyError, DataError) as error:
            deck.values["recording"] = NOTHING
            raise ConfigError(f"recording: {error}") from None

    def load(self, path: Path) -> None:
        """Show a recording from its beginning.

        Raises:
            DataError: It is none, or of another task.
        """
        playing = Recording.load(path)
        if playing.task != self._task:
            raise DataError(
                f"{path}: expected a recording of {self._task}, got one of {playing.task}"
            )
        self._playing = Playback(playing, self._scene)
