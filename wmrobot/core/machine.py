"""The machine that this runs on, in words that may stand beside a figure."""

import os
import platform
import sys
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> str:
    """Processor, cores, architecture and system."""
    return f"{cpu_model()}, {cores()} cores, {platform.machine()}, {sys.platform}"


def cpu_model() -> str:
    """The processor's name."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)
