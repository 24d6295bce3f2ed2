"""A process that is not disturbed while it keeps time, as far as the system allows.

None of this is required: what is refused is said, and the loop runs as it can.
"""

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wmrobot.runtime.process import quiet_collector

ROOM_NS = 3_000_000
"""[ns] a collection of what is new takes a fraction of this"""


@contextmanager
def quiet(*, cpu: int | None = None, priority: int = 0) -> Iterator[list[str]]:
    """Keep garbage collection, other cores and other processes out of the loop.

    Args:
        cpu: Core to stay on; None leaves it to the system.
        priority: Of SCHED_FIFO, 1 to 99; 0 asks for none.

    Yields:
        What was done and what was refused, a line each.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    said = [_pin(cpu), _hurry(priority)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # a thread that writes files gives way soon
    try:
        with quiet_collector():
            yield [line for line in said if line]
    finally:
        sys.setswitchinterval(interval)
        if priority and said[1].startswith("SCHED_FIFO with"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if cores is not None:
            os.sched_setaffinity(0, cores)


def tidy(until_ns: int) -> None:
    """Collect garbage now, if there is room before a time of `time.monotonic_ns`."""
    if until_ns - time.monotonic_ns() > ROOM_NS:
        gc.collect(1)


def resident_mib() -> float:
    """Memory that this process holds [MiB]; NaN where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no object a call
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return float("nan")


def _pin(cpu: int | None) -> str:
    if cpu is None:
        return ""
    if not hasattr(os, "sched_setaffinity"):
        return f"core {cpu}: refused, this system has no affinity"
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, OverflowError) as error:
        return f"core {cpu}: refused ({error})"
    return f"on core {cpu} alone"


def _hurry(priority: int) -> str:
    if not priority:
        return ""
    if not hasattr(os, "sched_setscheduler"):
        return "SCHED_FIFO: refused, this system has none"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO: refused ({error.strerror})"
    return f"SCHED_FIFO with priority {priority}"
