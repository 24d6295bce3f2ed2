"""What `wmrobot bench` tells: one JSON document, or a table for each part."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from wmrobot.app.bench_timing import Case, ProductRate
from wmrobot.app.run_folder import provenance
from wmrobot.envs.render import choose_backend

SCHEMA = 1
UNIT_OF_MINUTE = 1
_IDLE_LOAD = 0.5
_CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Versions, commit, machine and date, to stand beside every figure."""
    return {
        **provenance(),
        "cpu": cpu_model(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": threads,
        "renderer": choose_backend(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def cpu_model() -> str:
    """The processor's name."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def busy_warning(load: float) -> str | None:
    """What to say of a machine whose load average of the last minute is `load`."""
    if load <= _IDLE_LOAD:
        return None
    return (
        f"warning: this machine is not idle (load average {load:.2f}, expected at most "
        f"{_IDLE_LOAD}): the times will be too long; wait for it, or do not publish them"
    )


def document(
    settings: Mapping[str, Any],
    made: Mapping[str, Any],
    rates: Sequence[ProductRate],
    cases: Sequence[Case],
) -> dict[str, Any]:
    """All of it, as JSON."""
    return {
        "schema": SCHEMA,
        "kind": "bench",
        "made": dict(made),
        "settings": dict(settings),
        "products": [asdict(rate) for rate in rates],
        "cases": [_plain(case, rates) for case in cases],
    }


def _plain(case: Case, rates: Sequence[ProductRate]) -> dict[str, Any]:
    return {
        **asdict(case),
        "per_s": case.per_s,
        "times_roofline": case.times_roofline(rates[0].gflops) if rates else None,
    }
