"""What `wmrobot bench` tells: one JSON document, or a table for each part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from wmrobot.app.benchmarking.timing import Case, ProductRate
from wmrobot.app.output import aligned
from wmrobot.app.run_folder import provenance
from wmrobot.core.machine import load_average
from wmrobot.envs.render import choose_backend

SCHEMA = 1
_IDLE_LOAD = 0.5
_COLUMN_SIZES = ("task", "B", "render")  # told line by line
_WORDS = ("case", "task", "render")  # columns that start at the left
_FIGURES = {  # by column
    "x exact": "times_exact",
    "x dm_control": "times_dm_control",
    "of bare": "share_of_bare",
    "with resets": "share_with_resets",
    "x 1 thread": "times_one_thread",
    "difference": "mean_difference",
}


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Versions, commit, machine and date, to stand beside every figure."""
    return {
        **provenance(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": threads,
        "renderer": choose_backend(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": load_average(),
    }


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


def heading(made: Mapping[str, Any], rates: Sequence[ProductRate]) -> Iterator[str]:
    """What was measured where, in a few lines."""
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    yield (
        f"wmrobot {made['wmrobot']}, commit {made['commit'] or 'unknown'}, {made['date']}; "
        f"python {made['python']}, {packages}"
    )
    yield (
        f"{made['machine']}, device {made['gpu'] or made['device']}, "
        f"{made['threads']} threads, renderer {made['renderer']}"
    )
    if rates:
        ways = ", ".join(f"{rate.way} {rate.gflops:,.0f} GFLOP/s" for rate in rates)
        yield (
            f"{rates[0].precision} products of {rates[0].size} x {rates[0].size}: {ways}; "
            "1 x roofline is the necessary products at the best of these rates"
        )


def table(cases: Sequence[Case], rates: Sequence[ProductRate]) -> Iterator[str]:
    """One part: its sizes, where all cases share them, and a line for each case."""
    shared = {
        name: value
        for name, value in cases[0].shape.items()
        if name not in _COLUMN_SIZES and all(case.shape[name] == value for case in cases)
    }
    sizes = "".join(f" {name}={value}" for name, value in shared.items())
    yield f"{cases[0].part}:{sizes}"
    rows = [_row(case, rates) for case in cases]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    for line in aligned(columns, ([row[name] for name in columns] for row in rows), left=_WORDS):
        yield f"  {line}"


def _row(case: Case, rates: Sequence[ProductRate]) -> dict[str, str]:
    """Cells by column; what a case does not have stays empty."""
    timing, shape, figures = case.timing, case.shape, case.figures
    roofline = case.times_roofline(rates[0].gflops) if rates else None
    flops = case.necessary_flops
    return {
        "case": case.name,
        "task": str(shape["task"]),
        "render": str(shape.get("render", "")),
        "B": str(shape["B"]),
        "calls": f"{timing.calls:,}",
        "p50 ms": f"{timing.p50_ms:,.3f}",
        "p95 ms": f"{timing.p95_ms:,.3f}",
        "p99 ms": f"{timing.p99_ms:,.3f}",
        "rate": f"{case.per_s:,.{0 if case.per_s >= 100 else 2}f} {case.unit}/s",
        "GFLOP": "" if flops is None else f"{flops / 1e9:,.3f}",
        "x roofline": "" if roofline is None else f"{roofline:.2f}",
        **{
            column: f"{figures[name]:.2f}" if name in figures else ""
            for column, name in _FIGURES.items()
        },
    }
