"""How calls are timed, and how fast this machine multiplies matrices."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from wmrobot.app.device import onednn_multiplies
from wmrobot.nn.products import Precision

T = TypeVar("T")
MIN_CALLS = 5  # however long they take
MIN_WARM_UP = 2
WARM_UP_SHARE = 0.2  # of the seconds that are timed
PRODUCT_SIZE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
"""Rows and columns of the products that tell the rate of a device: large enough to reach it."""
SLOW_PRODUCT_SIZE = 256  # where one of the usual size would take half a minute


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall-clock time of single calls, warm-up left out.

    Attributes:
        calls: How many were timed.
        mean_ms: Mean [ms].
        min_ms: Shortest [ms].
        p50_ms: Median [ms].
        p95_ms: 95 in 100 calls took at most this [ms].
        p99_ms: 99 in 100 calls took at most this [ms].
    """

    calls: int
    mean_ms: float
    min_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class ProductRate:
    """Rate of one way to multiply large square matrices.

    Attributes:
        way: How: `mm` is torch's default, `onednn` takes weights that oneDNN has packed.
        precision: Of both factors.
        size: Rows and columns of both.
        calls: Products timed; the fastest counts.
        gflops: Floating-point operations a second, two for each multiply-add [GFLOP/s].
    """

    way: str
    precision: Precision
    size: int
    calls: int
    gflops: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the report.

    Attributes:
        part: `plan`, `update`, `env` or `pixels`.
        name: What was called.
        shape: Sizes, by the house's axis letters where there is one.
        timing: Of one call.
        unit: What a call brings.
        per_call: How many of them.
        flops: Operations of the matrix products that a call does.
        necessary_flops: Those that it could not do without; None where nothing is multiplied.
        figures: What else was measured.
    """

    part: str
    name: str
    shape: Mapping[str, int | str]
    timing: Timing
    unit: str
    per_call: int = 1
    flops: int | None = None
    necessary_flops: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Rate over all timed calls [unit/s]."""
        return 1e3 * self.per_call / self.timing.mean_ms

    def times_roofline(self, gflops: float) -> float | None:
        """Median time over that of the necessary products at a rate of `gflops` [GFLOP/s]."""
        if self.necessary_flops is None:
            return None
        return self.timing.p50_ms * gflops * 1e6 / self.necessary_flops


def summarise(seconds: list[float]) -> Timing:
    """Percentiles over calls, interpolated linearly."""
    ms = 1e3 * np.asarray(seconds)
    p50, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist()
    return Timing(
        calls=len(ms),
        mean_ms=float(ms.mean()),
        min_ms=float(ms.min()),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def measure(
    prepare: Callable[[], T],
    call: Callable[[T], object],
    *,
    seconds: float,
    device: torch.device | None = None,
) -> Timing:
    """Time `call(prepare())`, where only the call counts: each gets fresh inputs.

    Args:
        prepare: Makes the inputs of one call.
        call: What to time.
        seconds: Wall-clock budget [s], `prepare` included, warm-up not.
        device: Waited for before and after each call; None where nothing is asynchronous.
    """
    return measure_in_turns(prepare, {"call": call}, seconds=seconds, device=device)["call"]


def measure_in_turns(
    prepare: Callable[[], T],
    calls: Mapping[str, Callable[[T], object]],
    *,
    seconds: float,
    device: torch.device | None = None,
) -> dict[str, Timing]:
    """Time several calls on the same inputs, one after another in each round.

    So what a busy or a throttled minute costs, it costs all of them, and their ratios stand.

    Args:
        prepare: Makes the inputs of one round.
        calls: What to time, by name.
        seconds: Wall-clock budget of all together [s], `prepare` included, warm-up not.
        device: Waited for before and after each call; None where nothing is asynchronous.
    """
    wait = waiter(device)

    def once() -> list[float]:
        inputs, durations = prepare(), []
        for call in calls.values():
            wait()
            begin = time.perf_counter()
            call(inputs)
            wait()
            durations.append(time.perf_counter() - begin)
        return durations

    _repeat(once, MIN_WARM_UP, WARM_UP_SHARE * seconds)
    rounds = _repeat(once, MIN_CALLS, seconds)
    return {
        name: summarise(list(durations))
        for name, durations in zip(calls, zip(*rounds, strict=True), strict=True)
    }


def _repeat(once: Callable[[], list[float]], at_least: int, seconds: float) -> list[list[float]]:
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < at_least or time.perf_counter() < end:
        rounds.append(once())
    return rounds


def waiter(device: torch.device | None) -> Callable[[], None]:
    """What waits for all work that a device was given."""
    match None if device is None else device.type:
        case "cuda":
            return lambda: torch.cuda.synchronize(device)
        case "mps":
            return torch.mps.synchronize
        case _:
            return lambda: None


@torch.no_grad()
def product_rates(
    device: torch.device, seconds: float, precision: Precision = "fp32"
) -> list[ProductRate]:
    """Every way that torch has to multiply in that precision here, fastest first."""
    size = PRODUCT_SIZE[device.type]
    if device.type == "cpu" and not onednn_multiplies(precision):
        size = min(size, SLOW_PRODUCT_SIZE)
    rates = []
    for way, product in _ways(device, size, precision):
        timing = measure(lambda: None, product, seconds=seconds, device=device)
        gflops = 2 * size**3 / (timing.min_ms * 1e6)
        rates.append(
            ProductRate(way=way, precision=precision, size=size, calls=timing.calls, gflops=gflops)
        )
    return sorted(rates, key=lambda rate: -rate.gflops)


def _ways(
    device: torch.device, size: int, precision: Precision
) -> list[tuple[str, Callable[[None], object]]]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=device).to(dtype).unbind(0)
    ways: list[tuple[str, Callable[[None], object]]] = [("mm", lambda _: torch.mm(a, b))]
    if device.type == "cpu" and onednn_multiplies(precision):
        # reaches twice the rate of torch's default on AMD's Zen 5
        blocked, packed = a.to_mkldnn(), b.to_mkldnn()
        ways.append(("onednn", lambda _: torch.ops.aten.mkldnn_linear(blocked, packed)))
    return ways
