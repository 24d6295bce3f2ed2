"""Decodes what a mind imagines, in the time that a decision leaves."""

import math
from typing import Any

import numpy as np

from wmrobot.core.clock import Clock
from wmrobot.view.driving.decoder import Decoder, Error
from wmrobot.view.driving.mind import Mind
from wmrobot.view.layout import SELDOM

ROLLOUTS = 8  # imagined beside each other, the mean among them
EVERY = 0.04  # [s]
SPARE = 1.5  # times as much time as it has taken so far must be left


class Imaginer:
    """Futures in joint positions, as often as the control loop allows.

    Args:
        decoder: From latents to joint positions.
        error: How far that is off.
        clock: Keeps the time.
    """

    def __init__(self, decoder: Decoder, error: Error, clock: Clock) -> None:
        self._decoder, self._error, self._clock = decoder, error, clock
        self.seen: np.ndarray = error.is_seen
        self._last, self._cost = -math.inf, 0.0

    def describe(self) -> str:
        """The decoder's error in a line."""
        off = self._error.qpos[self.seen]
        if not len(off):
            return "it tells no joint"
        text = f"{off.mean():.3f} rad or m"
        if not self.seen.all():
            count = f"{len(off)} of {len(self.seen)}"
            text += f" for {count} joint positions, the others by their speed"
        return text

    def imagine(self, mind: Mind, left: float, ahead: int) -> dict[str, Any] | None:
        """Parts of a message, see `layout`; None where there is nothing, or no time.

        Args:
            mind: Who imagines.
            left: Time until the next decision is due [s].
            ahead: Decisions to look ahead.
        """
        now = self._clock.now()
        since = now - self._last
        if since < EVERY:
            return None
        if left < SPARE * self._cost and since < SELDOM:
            return None
        self._last = now
        rolled = mind.imagine(ROLLOUTS, ahead)
        if rolled is None:
            return None
        qpos, qvel = self._decoder.decode(rolled.z)
        self._cost += 0.2 * (self._clock.now() - now - self._cost)
        return {"imagined_qpos": qpos, "imagined_qvel": qvel, "imagined_horizon": rolled.horizon}
