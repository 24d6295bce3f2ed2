"""A recording at any moment of its time: what to show there, and how one got there."""

from collections.abc import Callable
from typing import Any

import numpy as np

from wmrobot.runtime.robot import Rung
from wmrobot.view.controls import Value
from wmrobot.view.layout import KEPT
from wmrobot.view.looks import Looks
from wmrobot.view.recorded.recording import Recording

Dress = Callable[[Looks], int]
FRAME = 1 / 30  # [s] between two pictures
MOST_STEP = 0.5  # [s] that a picture which came late may be ahead of the last one
JUMP = 1.0  # [s] between two pictures that do not follow each other
PARTS = ("ladder", "guard")  # states that a message has a place for; the others are facts


class Playback:
    """Plays one recording at its true speed, or at another, from wherever one likes.

    Args:
        recording: What to play.
        dress: Tells the number of the model that its `qpos` belongs to, with the looks that it is
            given; None shows curves only.
    """

    def __init__(self, recording: Recording, dress: Dress | None) -> None:
        self.recording, self._dress = recording, dress
        self._dressed: tuple[int, int] | None = None  # number of a look, and of its model
        self.position = 0.0
        self._times = recording.times
        self._last: float | None = None
        self._shown = -1
        self._curves = sorted(recording.curves)
        columns = [self._times, *(recording.arrays[name] for name in self._curves)]
        self._table = np.stack(columns, axis=1).astype(np.float64)  # (T, 1 + C)
        self._follows = _follows(recording)

    @property
    def index(self) -> int:
        """Number of the decision that the position is in."""
        # A position is told to the hundredth: what lies a hair before a decision is that decision.
        place = np.searchsorted(self._times, self.position + 1e-6, side="right")
        return max(int(place) - 1, 0)

    def step(self, decisions: int) -> None:
        """Go to another decision, so many away."""
        to = min(max(self.index + decisions, 0), len(self.recording) - 1)
        self.position = float(self._times[to])

    def next_miss(self) -> bool:
        """Go to the next decision whose tick had no fresh plan; False where there is none."""
        ladder = self.recording.states.get("ladder", ())
        for index in range(self.index + 1, len(ladder)):
            if ladder[index] not in ("", Rung.FRESH.name):
                self.position = float(self._times[index])
                return True
        return False

    def play(self, values: dict[str, Value], now: float) -> dict[str, Any]:
        """What to show now.

        Args:
            values: `play`, and perhaps `speed`; `position` is told in it.
            now: Time by any clock [s].
        """
        if values["play"] and self._last is not None:
            spent = min(now - self._last, MOST_STEP)
            self.position += spent * float(values.get("speed", 1.0))
        self._last = now
        length = self.recording.seconds
        if self.position >= length:
            self.position = 0.0 if values["play"] else float(self._times[-1])
        values["position"] = round(self.position, 2)
        return self._message(self.index)

    def _message(self, index: int) -> dict[str, Any]:
        recording, arrays = self.recording, self.recording.arrays
        cut = self._is_cut(index)
        first = max(index - KEPT + 1, 0) if cut else self._shown + 1
        self._shown = index
        episode = f", episode {int(arrays['episode'][index])}" if "episode" in arrays else ""
        facts = {
            "playing": f"{self.position:.2f} s of {recording.seconds:.2f} s{episode}",
            **{n: words[index] for n, words in recording.states.items() if n not in PARTS},
        }
        message: dict[str, Any] = {"tick": index, "facts": facts, "cut": cut}
        if first <= index:
            message |= self._since(first, index)
        if self._dress is not None and "qpos" in arrays:
            message |= {"scene": self._model(self._dress, index), "qpos": arrays["qpos"][index]}
            message |= {n: arrays[n][index] for n in ("mocap_pos", "mocap_quat") if n in arrays}
        if "plan_mean" in arrays and np.isfinite(arrays["plan_mean"][index]).all():
            message |= {name: arrays[name][index] for name in ("plan_mean", "plan_std")}
            message["plan_gap"] = int(arrays["plan_gap"][index])
        if "stages_ms" in arrays:
            taken = arrays["stages_ms"][index].tolist()
            message["stages_ms"] = dict(zip(recording.stages, taken, strict=True))
            message["deadline_ms"] = float(arrays["deadline"][index])
        message |= {n: recording.states[n][index] for n in PARTS if n in recording.states}
        return message

    def _model(self, dress: Dress, index: int) -> int:
        """Number of the model that looks as the robot did at a decision."""
        recording = self.recording
        if not recording.looks:
            return dress({})
        look = int(recording.arrays["look"][index])
        if self._dressed is None or self._dressed[0] != look:
            self._dressed = look, dress(recording.looks_at(index))
        return self._dressed[1]

    def _is_cut(self, index: int) -> bool:
        """Whether a decision does not go on from what was shown last."""
        last = self._shown
        if last < 0 or index < last or self._times[index] - self._times[last] > JUMP:
            return True
        episodes = self.recording.arrays.get("episode")
        return episodes is not None and bool(episodes[last] != episodes[index])

    def _since(self, first: int, index: int) -> dict[str, Any]:
        """All points of the curves, actions and rungs of some decisions."""
        recording = self.recording
        told: dict[str, Any] = {
            "curve_names": self._curves,
            "curve_rows": self._rows(first, index),
        }
        if "action" in recording.arrays:
            told["action"] = recording.arrays["action"][first : index + 1]
        if "ladder" in recording.states:
            told["rungs"] = [word for word in recording.states["ladder"][first : index + 1] if word]
        return told

    def _rows(self, first: int, index: int) -> np.ndarray:
        """Points of the curves, with one of no values before each that follows nothing."""
        rows = self._table[first : index + 1]
        holes = np.flatnonzero(~self._follows[first : index + 1])
        blank = rows[holes].copy()
        blank[:, 1:] = np.nan
        return np.insert(rows, holes, blank, axis=0)


def _follows(recording: Recording) -> np.ndarray:
    """(T,) whether a decision is the next one after that before it, or the same one again."""
    follows = np.ones(len(recording), dtype=np.bool_)
    for name, most in (("episode", 0), ("decision", 1)):
        if name in recording.arrays:
            follows[1:] &= np.diff(recording.arrays[name]) <= most
    return follows
