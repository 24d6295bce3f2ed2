"""How a process of the real-time loop begins, waits and ends."""

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What asks a process to end; the last where a terminal or an ssh connection has gone."""


@contextlib.contextmanager
def on_ending(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Hear of SIGTERM, SIGINT and SIGHUP.

    A hang-up that is ignored (nohup) stays so. It is heard only where nothing was before: a
    terminal that goes may say so twice, and that is no second request.

    Args:
        ask: Called, in the main thread, with each of them.
    """
    asked = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if number != signal.SIGHUP or not asked:
            asked = True
            ask(signal.Signals(number))

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [each for each in ENDINGS if not (ignored and each is signal.SIGHUP)]
    before = {each: signal.signal(each, hear) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def leave_endings_to_others() -> None:
    """Ignore what asks to end: it often reaches a whole group, and the parent of this answers."""
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def until_terminated(*, exit_with_stdin: bool = False) -> Iterator[None]:
    """Turn SIGTERM, SIGINT and SIGHUP into an orderly end: motors stop in `finally` clauses.

    One of them is enough: those that follow are ignored, so that none of them breaks that off.

    Args:
        exit_with_stdin: End as well when stdin is closed.
    """

    def leave(_: signal.Signals) -> None:
        leave_endings_to_others()
        raise SystemExit(0)

    with on_ending(leave):
        if exit_with_stdin:  # now that its signal is heard
            threading.Thread(target=_follow_stdin, daemon=True).start()
        yield


def _follow_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep Python's collector of reference cycles from pausing a tick. The loops make no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def raise_priority(fifo: int) -> bool:
    """Let a small, bounded loop run before whatever else wants a core.

    Without it a loop on a busy machine wakes some milliseconds late, however nice others are.

    Args:
        fifo: Priority of SCHED_FIFO to ask for, 1 to 99; 0 asks for none.

    Returns:
        Whether the system allows it.
    """
    if not fifo:
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo))
    except OSError:
        return False
    return True


class Idle:
    """Tells when nobody has been there for too long: a process that was forgotten ends itself.

    Args:
        after_s: Patience [s]; 0 is endless.
    """

    def __init__(self, after_s: float) -> None:
        self._after_ns = int(after_s * 1e9)
        self._began_ns = time.monotonic_ns()

    def is_over(self, heard_ns: int) -> bool:
        """Whether it is time to leave, when somebody was last heard at `heard_ns`."""
        if not self._after_ns:
            return False
        return time.monotonic_ns() - max(heard_ns, self._began_ns) > self._after_ns
