"""Whose time it is that a run waits for a GPU, which learns on after the host has gone on."""

import torch


class Lag:
    """Tells how much of the time that was just spent went into learning handed over before.

    A GPU is handed its updates in a moment, and makes them while the host simulates. Whoever needs
    a result next (a decision, an evaluation) waits for them first; by the host's clock alone that
    would be planning. Events in the device's own queue tell the two apart, and nothing waits for
    them that has not waited already. On a CPU nothing is ever late; on MPS it is not told.

    Args:
        device: Where the model lives.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_told = device.type == "cuda"
        self._learned: torch.cuda.Event | None = None

    def handed_over(self) -> None:
        """The device has been handed all updates that were due."""
        if self._is_told:
            self._learned = _mark()

    def within(self, seconds: float) -> float:
        """How many of the `seconds` up to now the device was still learning [s].

        None of them while it has not finished: then nobody has waited for it yet.
        """
        if self._learned is None or not self._learned.query():  # type: ignore[no-untyped-call]
            return 0.0
        now = _mark()
        now.synchronize()
        since_then = float(self._learned.elapsed_time(now)) / 1e3
        self._learned = None  # told
        return max(0.0, seconds - since_then)


def _mark() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
