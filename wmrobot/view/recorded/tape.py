"""Records what is driven, and plays recordings back in the window."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from wmrobot.core.errors import ConfigError, DataError
from wmrobot.view.controls import Control, Value
from wmrobot.view.live_layout import NOTHING, SHORTEST
from wmrobot.view.looks import Looks
from wmrobot.view.recorded.playback import FRAME, Dress, Playback
from wmrobot.view.recorded.recording import SUFFIX, Recorder, Recording, recordings


class Films(Protocol):
    """Who films recordings."""

    def begin(self, path: Path) -> str:
        """Begin to film one, and say so; a `ConfigError` where another one is still being made."""
        ...

    def news(self) -> str | None:
        """What came of it, told once."""
        ...


class Deck(Protocol):
    """What a tape needs of a driver."""

    values: dict[str, Value]

    def tell(self, **facts: str) -> None:
        """Show lines of text by name."""
        ...

    def say(self, line: str) -> None:
        """Add a line to the window's log."""
        ...

    def begin_anew(self) -> None:
        """Show nothing more of who decided until now."""
        ...


class Tape:
    """Recordings of one task in one folder.

    Args:
        folder: Where they lie; made when the first one is written.
        task: What is driven.
        control_dt: Time between two decisions [s].
        films: Films recordings.
        shapes: Of what is drawn of the robot, see `view.looks`; others are not played.
    """

    pause = FRAME

    def __init__(
        self,
        folder: Path,
        task: str,
        control_dt: float,
        *,
        films: Films,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._folder, self._task, self._dt = folder, task, control_dt
        self._films, self._shapes = films, shapes
        self.dress: Dress = lambda looks: 0
        """Tells the number of the model that is drawn, with the looks that it is given."""
        self._recorder: Recorder | None = None
        self._playing: Playback | None = None
        self._files = recordings(folder)

    @property
    def is_playing(self) -> bool:
        """Whether a recording is shown instead of the robot."""
        return self._playing is not None

    @property
    def limits(self) -> dict[str, Any]:
        """Parts of a message: what its widgets offer now."""
        return {"choices": {"recording": list(self._names)}, "highs": {"position": self._seconds}}

    @property
    def _names(self) -> tuple[str, ...]:
        """Recordings that there are, after the word for none."""
        return (NOTHING, *self._files)

    def news(self) -> str | None:
        """What came of a film, told once."""
        return self._films.news()

    @property
    def _seconds(self) -> float:
        """Length of what is playing [s]."""
        playing = self._playing
        return SHORTEST if playing is None else max(playing.recording.seconds, SHORTEST)

    def present(self, control: Control) -> Control:
        """One of its widgets as it is now; others as they are."""
        match control.name:
            case "recording":
                return replace(control, choices=self._names)
            case "position":
                return replace(control, high=self._seconds)
            case _:
                return control

    def add(self, row: Mapping[str, Any], looks: Callable[[], Looks]) -> None:
        """Remember one decision and how the robot looks, where it is recording."""
        if self._recorder is not None:
            self._recorder.add(row, looks())

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
                deck.say(self._films.begin(list(known.values())[-1]))
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
        self._files |= recordings(self._folder)
        deck.say(f"{len(recorder)} decisions recorded: {path}")

    def _choose(self, name: str, deck: Deck) -> None:
        if name == NOTHING:
            self._playing, deck.values["position"] = None, 0.0
            deck.tell(playing="")
            deck.begin_anew()
            deck.say("the robot drives on")
            return
        try:
            self.load(self._files[name])
        except (KeyError, DataError) as error:
            deck.values["recording"] = NOTHING
            raise ConfigError(f"recording: {error}") from None
        deck.begin_anew()

    def begin_with(self, path: Path, deck: Deck) -> None:
        """Show a recording from anywhere at first, and offer it beside those of the folder.

        Raises:
            DataError: It is none, or of another task.
        """
        self.load(path)
        name = path.name.removesuffix(SUFFIX)
        self._files[name] = path
        deck.values["recording"] = name
        deck.say(f"{name} is played; Record, Play back: {NOTHING} lets the robot drive")

    def load(self, path: Path) -> None:
        """Show a recording from its beginning.

        Raises:
            DataError: It is none, or of another task or robot.
        """
        playing = Recording.load(path)
        if playing.task != self._task:
            raise DataError(
                f"{path}: expected a recording of {self._task}, got one of {playing.task}"
            )
        playing.check(path, self._shapes)
        self._playing = Playback(playing, self.dress)
