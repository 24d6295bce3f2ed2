"""Keeps a window awake while the loop behind it makes one long call."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEAT_EVERY = 0.5  # [s] between two signs of life


@contextmanager
def keep_awake(beat: Callable[[], object]) -> Iterator[None]:
    """Call `beat` now and then from a thread; nothing else may speak to the window meanwhile."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(BEAT_EVERY):
            beat()

    beats = threading.Thread(target=go_on)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()
