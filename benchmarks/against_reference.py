"""Ours beside a plain TD-MPC2, in one process: `python benchmarks/against_reference.py`.

Prints one JSON document: milliseconds, how many times faster than the reference, and how many times
the roofline (necessary products at the best rate that this run measured in that precision). Words
are settings of `wmrobot bench`, for instance `threads=1` or `'parts=[update]'`; the profile is
`base`, which is the reference's size. With `device=cuda` the reference is timed eager and compiled
with `mode=reduce-overhead` (CUDA graphs); elsewhere `reference_compiled=true` asks for the latter.
A CPU without units for bf16 is not asked for it.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch

from benchmarks.reference.learner import Learner as PlainLearner
from benchmarks.reference.model import Model, Sizes
from benchmarks.reference.planner import plan
from wmrobot.app.bench import Config
from wmrobot.app.benchmarking.flops import necessary_plan_flops, update_flops
from wmrobot.app.benchmarking.learning import Subject
from wmrobot.app.benchmarking.report import busy_warning, machine
from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.benchmarking.timing import PRODUCT_SIZE, product_rates, summarise, waiter
from wmrobot.app.config import load
from wmrobot.app.device import keep_freed_memory, pick_device, precision_warning, set_threads
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_generator
from wmrobot.data.batch import Batch
from wmrobot.learn.learner import Learner
from wmrobot.nn.products import Precision

CASES: dict[str, tuple[bool, Precision]] = {  # name: compiled, precision
    "eager": (False, "fp32"),
    "compiled": (True, "fp32"),
    "compiled bf16": (True, "bf16"),
}
Call = Callable[[], object]


def draw_batch(size: int, horizon: int) -> Batch:
    """Random transitions of the size of walker-walk, no episode ending."""
    return Batch(
        obs={"state": torch.randn(horizon + 1, size, 24)},
        action=torch.rand(horizon, size, 6) * 2 - 1,
        reward=torch.rand(horizon, size),
        terminated=torch.zeros(horizon, size),
        mask=torch.ones(horizon, size),
    )


def reference_calls(device: torch.device, compiled: bool) -> dict[str, Call]:
    """A plan and an update of the reference, by part; it puts all that it makes where told here."""
    with device:
        planning, learner = Model(Sizes()).eval(), PlainLearner(Model(Sizes()))
    act = torch.compile(plan, mode="reduce-overhead") if compiled else plan

    def decide() -> None:
        with device:
            action, _ = act(planning, torch.randn(1, 24))
            action.cpu()

    def update() -> None:
        with device:
            batch = draw_batch(256, 3)
            learner.update(batch.obs["state"], batch.action, batch.reward)

    return {"plan": decide} if compiled else {"plan": decide, "update": update}


def our_calls(cfg: Config, device: torch.device) -> dict[str, Call]:
    """A decision of one robot, from observation to action, and an update."""
    subject = Subject(cfg, device)
    learner = Learner(
        copy.deepcopy(subject.model),
        cfg.learner,
        make_generator(1, "learner", device),
        subject.compilation,
    )
    driver = Controller(
        subject.model,
        subject.cfg.planner,
        obs_shapes=subject.spec.obs_shapes,
        action_dim=subject.spec.action_dim,
        num_q=cfg.model.num_q,
        frame_stack=1,
        generator=make_generator(1, "planner", device),
        compiler=subject.compilation,
    )
    size, horizon = cfg.learner.batch_size, cfg.planner.horizon
    return {
        "plan": lambda: driver.act(subject.draw_obs(1)),
        "update": lambda: learner.update(draw_batch(size, horizon).to(device)),
    }


def product_calls(device: torch.device, precisions: Collection[Precision]) -> dict[str, Call]:
    """One large product in each precision, to know the machine's rate while the others run."""
    size = PRODUCT_SIZE[device.type]
    a, b = torch.randn(2, size, size, device=device).unbind(0)
    low = a.bfloat16(), b.bfloat16()
    calls: dict[Precision, Call] = {
        "fp32": lambda: torch.mm(a, b),
        "bf16": lambda: torch.mm(*low),
    }
    return {f"product {precision}": calls[precision] for precision in precisions}


def race(calls: dict[str, Call], seconds: float, device: torch.device) -> dict[str, list[float]]:
    """Durations [s] of each call, taken in turn; the first two rounds are warm-up."""
    durations: dict[str, list[float]] = {name: [] for name in calls}
    wait = waiter(device)
    end = None
    while end is None or time.perf_counter() < end or len(durations[next(iter(calls))]) < 7:
        for name, call in calls.items():
            wait()
            begin = time.perf_counter()
            call()
            wait()
            durations[name].append(time.perf_counter() - begin)
        if end is None:  # the first round compiles
            end = time.perf_counter() + seconds
    return {name: values[2:] for name, values in durations.items()}


def main(words: list[str]) -> None:
    """Time every case against the reference."""
    asked = "reference_compiled=true"
    rest = [word for word in words if word != asked]
    cfg = load(Config, ["profile=base", "parts=[plan,update]", *rest])
    device = pick_device(cfg.device)
    made = machine(device, set_threads(cfg.threads))
    if warning := busy_warning(made["load_average"]):
        print(warning, file=sys.stderr)
    keep_freed_memory()
    usable: list[Precision] = [p for p in ("fp32", "bf16") if precision_warning(device, p) is None]
    rates = {p: product_rates(device, 1.0, p)[0].gflops for p in usable}
    ours = {
        name: our_calls(
            replace(cfg, compile=compiled, model=replace(cfg.model, precision=precision)), device
        )
        for name, (compiled, precision) in CASES.items()
        if precision in usable
    }
    subject = Subject(cfg, device)
    size, horizon = cfg.learner.batch_size, cfg.planner.horizon
    plain = {"reference": reference_calls(device, compiled=False)}
    if asked in words or device.type == "cuda":
        plain["reference compiled"] = reference_calls(device, compiled=True)
    flops = {
        "plan": necessary_plan_flops(subject.cost, subject.cfg.planner, 1),
        "update": update_flops(
            subject.cost, num_q=cfg.model.num_q, horizon=horizon, batch_size=size
        ),
    }
    results: dict[str, dict[str, Any]] = {}
    for part in cfg.parts:
        calls = {name: case[part] for name, case in (plain | ours).items() if part in case}
        calls |= product_calls(device, usable)
        durations = {name: summarise(v) for name, v in race(calls, cfg.seconds, device).items()}
        for precision, rate in rates.items():
            here = (
                2
                * PRODUCT_SIZE[device.type] ** 3
                / durations.pop(f"product {precision}").min_ms
                / 1e6
            )
            rates[precision] = max(rate, here)
        reference = durations["reference"].p50_ms
        for name, timing in durations.items():
            floor = flops[part] / rates[CASES.get(name, (False, "fp32"))[1]] / 1e6
            results[f"{part}: {name}"] = {
                "calls": timing.calls,
                "p50_ms": timing.p50_ms,
                "p95_ms": timing.p95_ms,
                "min_ms": timing.min_ms,
                "times_reference": reference / timing.p50_ms,
                "times_roofline": None if name in plain else timing.p50_ms / floor,
            }
    document = {"made": made, "gflops": rates, "necessary_flops": flops, "results": results}
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    run_script(main, __doc__)
