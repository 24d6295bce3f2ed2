"""`wmrobot bench`: counts that torch confirms, percentiles that are right, one document."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmrobot.app import device
from wmrobot.app.bench import Config
from wmrobot.app.benchmarking import timing as bench_timing
from wmrobot.app.benchmarking.flops import necessary_plan_flops, plan_flops, row_cost, update_flops
from wmrobot.app.benchmarking.report import busy_warning
from wmrobot.app.benchmarking.timing import (
    Case,
    measure,
    measure_in_turns,
    product_rates,
    summarise,
)
from wmrobot.app.cli import main
from wmrobot.app.config import load
from wmrobot.app.device import crowding_warning, precision_warning
from wmrobot.core.config import build
from wmrobot.core.machine import cores
from wmrobot.core.random import make_generator
from wmrobot.data.batch import Batch
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.noise import draw_noise, empty_plan
from wmrobot.plan.planner import make_planner

TASKS = Path(__file__).parent / "fixtures" / "tiny.py"
STATE = {"state": (5,)}
RGB = {"rgb": (3, 64, 64)}
MODEL = ModelConfig(
    latent_dim=24, mlp_dim=20, enc_dim=12, num_channels=4, num_q=3, num_bins=11, dropout=0.1
)
ACTION_DIM = 2
CASE_KEYS = {
    "part", "name", "shape", "timing", "unit", "per_call", "flops", "necessary_flops", "figures",
    "per_s", "times_roofline",
}  # fmt: skip
HEADER = "case task B calls p50 ms p95 ms p99 ms rate GFLOP x roofline"
TINY = [
    "latent_dim=16",
    "mlp_dim=8",
    "num_samples=16",
    "num_elites=4",
    "planner.num_prior=2",
    "batch_size=8",
    "seconds=0.01",
    "threads=1",
]


def make_model(obs_shapes: dict[str, tuple[int, ...]], *, episodic: bool) -> WorldModel:
    return WorldModel(
        MODEL, obs_shapes=obs_shapes, action_dim=ACTION_DIM, discount=0.99, episodic=episodic
    )


def draw_obs(obs_shapes: dict[str, tuple[int, ...]], *lead: int) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(*lead, *shape)
        if len(shape) == 1
        else torch.zeros(*lead, 3 * shape[0], *shape[1:], dtype=torch.uint8)
        for name, shape in obs_shapes.items()
    }


WITHOUT_PRIOR = MppiConfig(horizon=1, iterations=2, num_samples=9, num_elites=3, num_prior=0)
MPPI = MppiConfig(horizon=3, iterations=2, num_samples=9, num_elites=3, num_prior=4)
ICEM = IcemConfig(horizon=2, iterations=3, num_samples=9, num_elites=4, num_prior=2)
BLENDED = replace(MPPI, value_lambda=0.5)


@pytest.mark.parametrize(
    ("obs_shapes", "episodic", "planner"),
    [
        (STATE, False, WITHOUT_PRIOR),
        (STATE, True, ICEM),
        (RGB, False, MPPI),
        (STATE | RGB, True, MPPI),
        (STATE, False, BLENDED),
    ],
)
def test_plan_takes_the_operations_that_torch_counts(
    obs_shapes: dict[str, tuple[int, ...]], episodic: bool, planner: PlannerConfig
) -> None:
    model = make_model(obs_shapes, episodic=episodic)
    noise = draw_noise(
        planner,
        batch=2,
        action_dim=ACTION_DIM,
        num_q=MODEL.num_q,
        generator=make_generator(0, "noise"),
    )
    start = empty_plan(planner, batch=2, action_dim=ACTION_DIM, device=torch.device("cpu"))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        z = model.encode(draw_obs(obs_shapes, 2))
        make_planner(planner)(model, z, start, noise)
    cost = row_cost(MODEL, obs_shapes=obs_shapes, action_dim=ACTION_DIM, episodic=episodic)
    assert plan_flops(cost, planner, 2) == counter.get_total_flops()
    assert necessary_plan_flops(cost, planner, 2) < plan_flops(cost, planner, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("obs_shapes", "episodic"), [(STATE, False), (STATE, True), (RGB, False), (STATE | RGB, True)]
)
def test_update_takes_the_operations_that_torch_counts(
    obs_shapes: dict[str, tuple[int, ...]], episodic: bool
) -> None:
    horizon, size = 3, 4
    model = make_model(obs_shapes, episodic=episodic)
    learner = Learner(model, LearnerConfig(), make_generator(0, "learner"))
    batch = Batch(
        obs=draw_obs(obs_shapes, horizon + 1, size),
        action=torch.zeros(horizon, size, ACTION_DIM),
        reward=torch.zeros(horizon, size),
        terminated=torch.zeros(horizon, size),
        mask=torch.ones(horizon, size),
    )
    with FlopCounterMode(display=False) as counter:
        learner.update(batch)
    cost = row_cost(MODEL, obs_shapes=obs_shapes, action_dim=ACTION_DIM, episodic=episodic)
    expected = update_flops(cost, num_q=MODEL.num_q, horizon=horizon, batch_size=size)
    assert expected == counter.get_total_flops()


def test_base_plan_needs_what_was_counted_by_hand() -> None:
    # TD-MPC2's 5M model and 6 x 512 x H3 + 24: a prototype's exact algebra came to 31.6 GFLOP
    cost = row_cost(ModelConfig(), obs_shapes={"state": (24,)}, action_dim=6, episodic=False)
    assert necessary_plan_flops(cost, MppiConfig(), 1) / 1e9 == pytest.approx(31.6, rel=0.01)


def test_percentiles_are_over_calls() -> None:
    timing = summarise([i / 1e3 for i in range(100, 0, -1)])
    assert timing.calls == 100
    assert timing.min_ms == 1
    assert timing.mean_ms == pytest.approx(50.5)
    assert (timing.p50_ms, timing.p95_ms, timing.p99_ms) == pytest.approx((50.5, 95.05, 99.01))


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bench_timing.time, "perf_counter", clock)
    return clock


def test_only_the_call_is_timed_and_its_inputs_are_fresh(clock: Clock) -> None:
    made: list[object] = []
    seen: list[object] = []

    def prepare() -> object:
        clock.now += 0.5
        made.append(object())
        return made[-1]

    def call(inputs: object) -> None:
        clock.now += 0.25 if len(seen) >= 2 else 10.0  # the first two are slow, and warm-up
        seen.append(inputs)

    timing = measure(prepare, call, seconds=15.0)
    assert seen == made
    assert len(seen) == len(set(map(id, seen)))
    assert timing.calls == 20  # 0.75 s each, of which 0.25 s count
    assert timing.min_ms == timing.p50_ms == timing.p99_ms == 250


def test_calls_take_turns_on_the_same_inputs(clock: Clock) -> None:
    order: list[tuple[str, object]] = []

    def call(name: str, seconds: float) -> Callable[[object], None]:
        def act(inputs: object) -> None:
            clock.now += seconds
            order.append((name, inputs))

        return act

    calls = {"fast": call("fast", 0.25), "slow": call("slow", 1.0)}
    timings = measure_in_turns(object, calls, seconds=8.0)
    assert [name for name, _ in order[:4]] == ["fast", "slow", "fast", "slow"]
    assert all(a is b for (_, a), (_, b) in zip(order[::2], order[1::2], strict=True))
    assert {name: (t.p50_ms, t.calls) for name, t in timings.items()} == {
        "fast": (250, 7),
        "slow": (1000, 7),
    }


def test_a_slow_call_is_timed_five_times(clock: Clock) -> None:
    def call(_: None) -> None:
        clock.now += 60.0

    timing = measure(lambda: None, call, seconds=1.0)
    assert timing.calls == 5
    assert timing.p50_ms == 60_000


def test_roofline_is_the_time_of_the_necessary_products() -> None:
    timing = summarise([0.02])
    case = Case(
        part="plan",
        name="plan",
        shape={},
        timing=timing,
        unit="plans",
        per_call=8,
        flops=4 * 10**9,
        necessary_flops=10**9,
    )
    assert case.times_roofline(gflops=100.0) == pytest.approx(2.0)  # 10 ms would do
    assert case.per_s == pytest.approx(400.0)
    assert replace(case, necessary_flops=None).times_roofline(gflops=100.0) is None


def test_a_task_of_ones_own_is_timed_beside_common_ones() -> None:
    own = load(Config, [f"task={TASKS}:cart"])
    assert own.simulated() == (*Config().simulated(), f"{TASKS}:cart")
    assert own.drawn() == Config().drawn()
    seen = load(Config, ["task=finger-spin", "obs=rgb"])
    assert seen.drawn() == (*Config().drawn(), "finger-spin")
    assert Config().simulated().count("walker-walk") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["seconds=0"], "error: seconds: expected more than 0, got 0.0"),
        (["parts=[]"], "error: parts: expected at least one, got none"),
        (["plan_batches=[1,0]"], "error: plan_batches: expected each at least 1, got (1, 0)"),
        (["env_tasks=[walker-wlak]"], "error: no task named 'walker-wlak'. Did you mean"),
        (
            ["resume=runs/x"],
            "error: resume: expected it left out, as bench trains nothing, got runs/x",
        ),
        (["profile=nona"], "error: no profile named 'nona'. Did you mean 'nano'?"),
    ],
)
def test_mistakes_are_told_before_anything_is_timed(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(expected)
    assert err.count("\n") == 1


def test_a_busy_machine_is_warned_about() -> None:
    assert busy_warning(0.1) is None
    assert busy_warning(1.25) == (
        "warning: this machine is not idle (load average 1.25, expected at most 0.5): "
        "the times will be too long; wait for it, or do not publish them"
    )


@pytest.mark.parametrize(
    ("has_units", "times_fp32", "why"),
    [
        (True, 0.5, None),
        (True, 1.9, "a product in bf16 takes this CPU 1.9 times as long as one in fp32"),
        (False, 0.5, "this CPU has no units for bf16"),
    ],
)
def test_bf16_is_warned_about_where_a_cpu_does_not_gain_by_it(
    has_units: bool, times_fp32: float, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(device, "onednn_multiplies", lambda _: has_units)
    monkeypatch.setattr(device, "bf16_times_fp32", lambda: times_fp32)
    warning = precision_warning(cpu, "bf16")
    assert warning is None if why is None else f"warning: {why}, so" in str(warning)
    assert precision_warning(cpu, "fp32") is None


@pytest.mark.parametrize(("many_s", "is_told"), [(0.5, False), (1.4, False), (3.0, True)])
def test_threads_that_wait_for_another_program_are_told(
    many_s: float, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    took = iter([many_s, 1.0])
    monkeypatch.setattr(device, "_small_operations_s", lambda: next(took))
    warning = crowding_warning(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    assert (warning is not None) is is_told
    assert warning is None or "take 3.0 times as long as one for small operations" in warning
    assert crowding_warning(1) is None


@pytest.mark.parametrize(("capability", "has_units"), [((7, 5), False), ((8, 0), True)])
def test_bf16_is_warned_about_where_a_gpu_has_no_units_for_it(
    capability: tuple[int, int], has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    gpu = torch.device("cuda")
    assert precision_warning(gpu, "fp32") is None
    assert precision_warning(gpu, "bf16") == (
        None
        if has_units
        else "warning: this GPU has no units for bf16 (compute capability 7.5, below 8.0), so "
        "model.precision=bf16 saves no time here; set model.precision=fp32"
    )


def test_who_takes_a_device_computes_exactly() -> None:
    """What cuDNN and cuBLAS round by default, they do not once the device is chosen."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    convolutions.allow_tf32, convolutions.deterministic = True, False
    products.allow_bf16_reduced_precision_reduction = True
    device.pick_device("cpu")
    assert not convolutions.allow_tf32
    assert convolutions.deterministic
    assert not convolutions.benchmark
    assert not products.allow_bf16_reduced_precision_reduction
    assert not products.allow_tf32


@pytest.mark.usefixtures("small_machine")
def test_products_in_bf16_are_timed_by_the_ways_that_this_cpu_has() -> None:
    rates = product_rates(torch.device("cpu"), 0.01, "bf16")
    ways = {"mm", "onednn"} if device.onednn_multiplies("bf16") else {"mm"}
    assert {rate.way for rate in rates} == ways
    assert all(rate.gflops > 0 for rate in rates)


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small products, an idle machine, and torch's threads put back in the end."""
    monkeypatch.setitem(bench_timing.PRODUCT_SIZE, "cpu", 64)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run_json(words: list[str], capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["bench", *TINY, *words, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)  # fails on anything beside one document
    assert isinstance(document, dict)
    return document


def check_case(case: dict[str, Any]) -> None:
    timing = case["timing"]
    assert set(case) == CASE_KEYS
    assert timing["calls"] >= 5
    assert 0 < timing["min_ms"] <= timing["p50_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
    assert case["per_s"] == pytest.approx(1e3 * case["per_call"] / timing["mean_ms"])


@pytest.mark.slow
@pytest.mark.usefixtures("small_machine")
def test_json_is_one_document_with_all_that_a_figure_needs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ["parts=[plan,update,env]", "plan_batches=[1,3]", "env_batches=[2]"]
    document = run_json([*words, "env_tasks=[cartpole-swingup,qube2-swingup]"], capfd)
    assert set(document) == {"schema", "kind", "made", "settings", "products", "cases"}
    assert document["schema"] == 1
    made = document["made"]
    assert made["threads"] == 1
    assert made["device"] == "cpu"
    assert {"commit", "packages", "machine", "date", "load_average", "renderer"} < set(made)
    assert document["products"][0]["gflops"] == max(p["gflops"] for p in document["products"])
    build(Config, document["settings"])  # reopens exactly

    cases = document["cases"]
    for case in cases:
        check_case(case)
    assert [(c["part"], c["name"], c["shape"]["task"], c["shape"]["B"]) for c in cases] == [
        ("plan", "act", "walker-walk", 1),
        ("plan", "plan", "walker-walk", 1),
        ("plan", "act", "walker-walk", 3),
        ("plan", "plan", "walker-walk", 3),
        ("update", "sample", "walker-walk", 8),
        ("update", "update", "walker-walk", 8),
        ("env", "step", "cartpole-swingup", 2),
        ("env", "step", "qube2-swingup", 2),
    ]
    plan, update, env = cases[0], cases[5], cases[6]
    assert plan["shape"] | {"O_state": 24, "A": 6, "Z": 16, "N": 16} == plan["shape"]
    assert plan["necessary_flops"] < plan["flops"]
    rate = document["products"][0]["gflops"]
    for case in (plan, update):
        floor_ms = case["necessary_flops"] / rate / 1e6
        assert case["times_roofline"] == pytest.approx(case["timing"]["p50_ms"] / floor_ms)
    assert env["times_roofline"] is None
    assert set(env["figures"]) == {"bare_per_s", "share_of_bare", "share_with_resets"}
    assert 0.01 < env["figures"]["share_of_bare"] < 1.5


@pytest.mark.slow
@pytest.mark.usefixtures("small_machine")
def test_pictures_are_compared_with_exact_ones(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["parts=[pixels]", "pixel_tasks=[cartpole-swingup]", "pixel_batches=[1,2]"]
    document = run_json(words, capfd)
    assert document["products"] == []
    modes = ["ray"] if document["made"]["renderer"] == "ray" else ["exact", "near", "fast", "ray"]
    cases = document["cases"]
    plain = ["dm_control"] if len(modes) > 1 else []
    assert [(case["name"], case["shape"]["render"], case["shape"]["B"]) for case in cases] == [
        *(("picture", mode, 1) for mode in modes),
        *(("step", mode, 1) for mode in plain),
        *(("step", mode, batch) for mode in modes for batch in (1, 2)),
    ]
    for case in cases:
        check_case(case)
    assert cases[0]["figures"]["mean_difference"] == 0
    if len(modes) > 1:
        assert cases[0]["figures"]["times_exact"] == 1
        assert cases[1]["figures"]["mean_difference"] < 0.6  # near
        assert cases[2]["figures"]["times_exact"] > 3  # fast
        assert cases[-4]["figures"]["times_dm_control"] > 3  # fast, two together


@pytest.mark.slow
@pytest.mark.usefixtures("small_machine")
def test_pixel_observations_are_timed_as_table(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["cartpole-swingup", "obs=rgb", "num_channels=2", "parts=[plan,update]"]
    assert main(["bench", *words, *TINY, "plan_batches=[2]"]) == 0
    lines = capfd.readouterr().out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("plan:"))
    assert "O_rgb=3x64x64" in lines[begin]
    header, *rows = lines[begin + 1 : begin + 4]
    assert " ".join(header.split()) == HEADER
    assert [row.split()[:3] for row in rows] == [
        ["act", "cartpole-swingup", "2"],
        ["plan", "cartpole-swingup", "2"],
    ]
    ends = {row.index(" plans/s") for row in rows}
    assert len(ends) == 1  # aligned


def test_threads_heed_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [device.set_threads(0), device.set_threads(2)] == [1, 2]
    for told in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert device.set_threads(0) == cores()
    device.set_threads(1)
