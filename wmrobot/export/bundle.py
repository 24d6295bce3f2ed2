"""A bundle, written: graphs, document, golden vectors and parity report, or nothing at all."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import MANIFEST, REPLACED, replace_folder, seal, write_atomic
from wmrobot.export.describe import describe, encode_json, look_at_robot, policy_metadata
from wmrobot.export.facts import Facts, Precision
from wmrobot.export.glue import glue_planner
from wmrobot.export.graphs import describe_policy, trace
from wmrobot.export.parity import BOUND, check
from wmrobot.export.precision import halve
from wmrobot.export.record import Recording, TorchPlanner, record
from wmrobot.export.stages import make_stages
from wmrobot.plan.planner import make_rules
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.document import FILE, read_description
from wmrobot.runtime.bundle.folder import GOLDEN, KIND, PARITY, SCHEMA, Bundle
from wmrobot.runtime.bundle.signatures import BEGIN, PLANNER, POLICY, signatures
from wmrobot.runtime.planning.golden import compare, dump
from wmrobot.runtime.planning.planner import Planner
from wmrobot.runtime.planning.stages import Stages

Graphs = dict[str, onnx.ModelProto]
_TIMED, _TIMED_S = 200, 3.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to export.

    Attributes:
        batch: B of the graphs; None for any.
        precision: fp32, or fp16 for weights stored in half precision.
        num_vectors: Decisions to record and compare.
        patience_s: To record fewer after so long [s]; None records all.
        seed: Of what is recorded.
        threads: Of onnxruntime, where plans are compared.
        name: Stands in the policy's metadata for where it comes from.
    """

    batch: int | None
    precision: Precision
    num_vectors: int
    seed: int
    threads: int
    name: str
    patience_s: float | None = None


def write_bundle(
    out: Path, facts: Facts, request: Request, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Export, compare, and only then put the bundle in its place.

    Args:
        out: Folder of the bundle; one that is there is replaced if it is a bundle.
        facts: Trained controller.
        request: How.
        tell: Called with what is going on.

    Returns:
        The parity report.

    Raises:
        CheckpointError: `out` is something else than a bundle.
        ParityError: The graphs do not plan what PyTorch plans; nothing is left behind.
    """
    refuse_other_folder(out)
    robot = look_at_robot(facts)
    document = describe(facts, robot, batch=request.batch, precision=request.precision)
    description = read_description(encode_json(document))
    tell("tracing the graphs")
    begin = time.perf_counter()
    graphs = make_graphs(facts, description)
    describe_policy(graphs[POLICY], policy_metadata(document, robot, request.name))
    graphs_s = time.perf_counter() - begin
    tell(f"letting the controller decide up to {request.num_vectors:,} times")
    recording = record(
        facts,
        description,
        num_vectors=request.num_vectors,
        seed=request.seed,
        patience_s=request.patience_s,
    )
    tell("comparing with PyTorch")
    report = _compare(facts, description, graphs, recording, request)
    report["seconds"] = {"graphs": graphs_s, "recording": recording.seconds}
    if request.precision == "fp16":
        graphs = {name: halve(graph) for name, graph in graphs.items()}
        report["fp16"] = _effect(description, graphs, recording, request)
    document["evaluations"] = [
        *document["evaluations"],
        {"source": "recording of the golden vectors", "returns": recording.returns},
    ]
    document["latency_ms"] = _time(description, graphs, recording)
    files = {name: graph.SerializeToString() for name, graph in graphs.items()}
    files |= {FILE: encode_json(document), PARITY: encode_json(report)}
    files[GOLDEN] = dump(recording.golden.arrays)

    def write(folder: Path) -> None:
        for name, data in files.items():
            write_atomic(folder / name, data)
        seal(folder, {"kind": KIND, "schema": SCHEMA})
        Bundle.read(folder)  # what is not readable is not left behind

    out.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(out, write)
    return report


def make_graphs(facts: Facts, description: Description) -> Graphs:
    """Every graph of a bundle, by file."""
    ports, rules = signatures(description), make_rules(facts.planner)
    stages = make_stages(facts.model, rules)
    graphs = {name: trace(stage, ports[name]) for name, stage in stages.items()}
    graphs[PLANNER] = glue_planner(
        graphs,
        ports,
        iterations=facts.planner.iterations,
        num_prior=facts.planner.num_prior,
        num_kept=rules.num_kept,
    )
    del graphs[BEGIN]
    return graphs


def in_memory(description: Description, graphs: Mapping[str, onnx.ModelProto]) -> Bundle:
    """A bundle that is not written yet."""
    return Bundle(
        folder=Path("bundle"),
        files={name: graph.SerializeToString() for name, graph in graphs.items()},
        description=description,
        signatures={n: port for n, port in signatures(description).items() if n != BEGIN},
    )


def refuse_other_folder(out: Path) -> None:
    """Refuse to replace anything but a bundle.

    Raises:
        CheckpointError: `out` is something else.
    """
    if out.name.endswith(REPLACED) or not out.name:
        raise CheckpointError(f"{out}: expected a name for the bundle's folder; choose another out")
    if not out.exists():
        return
    manifest = out / MANIFEST
    is_bundle = manifest.is_file() and f'"kind": "{KIND}"' in manifest.read_text(errors="replace")
    if not is_bundle and not (out.is_dir() and not any(out.iterdir())):
        raise CheckpointError(
            f"{out}: expected a new folder or a bundle to replace, got something else; "
            "choose another out="
        )


def _compare(
    facts: Facts, description: Description, graphs: Graphs, recording: Recording, request: Request
) -> dict[str, Any]:
    """Parity of the one graph and of the stages."""
    bundle = in_memory(description, graphs)
    torch_planner = TorchPlanner(facts.model, make_rules(facts.planner))
    paths = {
        PLANNER: Planner(bundle, threads=request.threads).plan,
        "stages": Stages(bundle, threads=request.threads).plan,
    }
    return {
        "precision": "fp32",
        "bound": BOUND,
        "bound_is_on": "largest absolute difference of a plan's mean to PyTorch's, ties excepted",
        **{
            name: check(name, plan, recording.golden, torch_planner).report()
            for name, plan in paths.items()
        },
    }


def _effect(
    description: Description, graphs: Graphs, recording: Recording, request: Request
) -> dict[str, Any]:
    """How far reduced weights lead from the plans of PyTorch."""
    planner = Planner(in_memory(description, graphs), threads=request.threads)
    apart = vars(compare(planner.plan, recording.golden))
    return {
        name: {"median": float(np.median(value)), "p99": float(np.percentile(value, 99)),
               "max": float(value.max())}
        for name, value in apart.items()
    }  # fmt: skip


def _time(description: Description, graphs: Graphs, recording: Recording) -> dict[str, Any]:
    """How long a plan takes here, on one thread."""
    planner = Planner(in_memory(description, graphs), threads=1)
    taken = []
    for tick, _ in zip(recording.golden.ticks(), range(_TIMED), strict=False):
        begin = time.perf_counter()
        planner.plan(*tick[:3])
        taken.append((time.perf_counter() - begin) * 1e3)
        if sum(taken) > _TIMED_S * 1e3:
            break
    p50, p99 = np.percentile(taken, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "plans": len(taken), "threads": 1,
            "of": PLANNER}  # fmt: skip
