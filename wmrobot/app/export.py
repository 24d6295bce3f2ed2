"""`wmrobot export`: from a run to a bundle that runs without torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import torch

from wmrobot.app.controllers import (
    CONTROLLER,
    Card,
    check_card,
    find_controller,
    make_model,
    read_controller,
)
from wmrobot.app.device import set_threads
from wmrobot.app.output import emit, output_file
from wmrobot.app.run_folder import provenance
from wmrobot.app.tables import read_rows
from wmrobot.core.errors import CheckpointError, ConfigError, DataError
from wmrobot.core.files import sha256, user_path
from wmrobot.core.spec import file_name
from wmrobot.envs.rows import EnvOptions
from wmrobot.export.bundle import Request, refuse_other_folder, write_bundle
from wmrobot.export.facts import Facts, Precision
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import PlannerConfig

MOST_GOLDEN = 1_000
PATIENCE_S = 12.0
"""[s] of recording; to compare two ways of planning with it takes up to three times as long."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A planner of another size with the same weights; null keeps what it was trained with.

    Attributes:
        horizon: H, decisions imagined.
        iterations: I, rounds of refinement.
        num_samples: N, candidates a round, proposals of the prior included.
        num_elites: K, candidates that shape the next round.
        num_prior: P, action sequences proposed by the policy prior.
    """

    horizon: int | None = None
    iterations: int | None = None
    num_samples: int | None = None
    num_elites: int | None = None
    num_prior: int | None = None

    def apply(self, planner: PlannerConfig) -> PlannerConfig:
        """The planner, its budget changed.

        Raises:
            ConfigError: It would be no planner.
        """
        wanted = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(planner, **{k: value for k, value in wanted.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `export`.

    Attributes:
        task: Task whose shipped controller to export.
        run: Run, checkpoint or controller to export instead.
        out: Folder of the bundle; null names it bundles/<task>. A bundle that is there is replaced.
        batch: Robots that one plan is for: a number, or dynamic for any.
        precision: Of the weights: fp32, or fp16 (half the size; its effect stands in parity.json).
        golden: Decisions to record, and to compare with PyTorch; null takes 1,000, or fewer where a
            plan takes so long that the export would take over a minute.
        seed: Of what is recorded.
        threads: Of torch and onnxruntime; 0 takes OMP_NUM_THREADS, or every core.
        planner: A smaller or larger planner with the same weights.
    """

    task: str | None = None
    run: str | None = None
    out: str | None = None
    batch: int | Literal["dynamic"] = 1
    precision: Precision = "fp32"
    golden: int | None = None
    seed: int = 0
    threads: int = 0
    planner: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if self.task is None and self.run is None:
            raise ConfigError("export: expected a task or run=<folder>, got neither")
        if self.batch != "dynamic" and self.batch < 1:
            raise ConfigError(f"batch: expected at least 1 or dynamic, got {self.batch}")
        if self.golden is not None and self.golden < 1:
            raise ConfigError(f"golden: expected at least 1, got {self.golden}")


def run(cfg: Config, *, json: bool) -> int:
    """Export and tell what came of it."""
    threads = set_threads(cfg.threads)
    folder = find_controller(task=cfg.task, run=cfg.run)
    model, card = read_controller(folder, torch.device("cpu"))
    card = check_card(card, folder, task=cfg.task)
    name = file_name(card.task.name)
    out = user_path(cfg.out or f"bundles/{name}")
    refuse_other_folder(out)
    planner = cfg.planner.apply(card.planner)
    if planner.num_prior == 0 and cfg.batch == "dynamic":
        raise ConfigError(
            "batch: expected a number where the prior proposes nothing (planner.num_prior=0), "
            "got dynamic"
        )
    output_file("out", out)
    facts = gather(model, card, folder, planner=planner)
    request = Request(
        batch=None if cfg.batch == "dynamic" else cfg.batch,
        precision=cfg.precision,
        num_vectors=cfg.golden or MOST_GOLDEN,
        patience_s=PATIENCE_S if cfg.golden is None else None,
        seed=cfg.seed,
        threads=threads,
        name=folder.name,
    )
    tell: Callable[[str], None] = (lambda _: None) if json else (lambda text: print(f"{text} ..."))
    if out.exists() and any(out.iterdir()):
        tell(f"the bundle in {out} will be replaced")
    report = write_bundle(out, facts, request, tell)
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    if json:
        emit({"folder": str(out), "task": card.task.name, "bytes": sizes, "parity": report})
    else:
        print_report(out, sizes, report)
    return 0


def gather(model: WorldModel, card: Card, folder: Path, *, planner: PlannerConfig) -> Facts:
    """All that is known about a controller.

    Raises:
        CheckpointError: Its task has changed since it was trained.
    """
    options: EnvOptions = {
        "obs": card.obs,
        "cameras": card.cameras,
        "render": card.render,
        "image_size": card.image_size,
        "randomization": card.randomization,
    }
    return Facts(
        model=_with_whole_products(model, card).eval(),
        planner=planner,
        task=card.task,
        options=options,
        randomization=card.randomization,
        made=card.made,
        exported=provenance(),
        weights_sha256=sha256(folder / f"{CONTROLLER}.safetensors"),
        evaluations=_evaluations(folder, card),
    )


def _with_whole_products(model: WorldModel, card: Card) -> WorldModel:
    """The same weights, multiplied in fp32 as a bundle's graphs do it."""
    if card.model.precision == "fp32":
        return model
    whole = make_model(
        replace(card, model=replace(card.model, precision="fp32")), torch.device("cpu")
    )
    whole.load_state_dict(model.state_dict())
    return whole


def _evaluations(folder: Path, card: Card) -> tuple[Mapping[str, float], ...]:
    """The last row of the run's eval.csv up to it, where the folder is a checkpoint of a run."""
    table = folder.parent.parent / "eval.csv"
    if folder.parent.name != "checkpoints":
        return ()
    try:
        rows = [{k: float(v) for k, v in row.items()} for row in read_rows(table)]
        done = card.made.get("step", math.inf)  # older ones do not tell
        return tuple([row for row in rows if row["step"] <= done][-1:])
    except (ValueError, KeyError, DataError):
        raise CheckpointError(f"{table}: expected a table of numbers, got something else") from None


def print_report(out: Path, sizes: Mapping[str, int], report: Mapping[str, object]) -> None:
    """Where it lies, how large it is, how far it is from PyTorch."""
    print(f"{out}: {sum(sizes.values()) / 2**20:.1f} MiB")
    for path in ("planner.onnx", "stages"):
        found = report[path]
        assert isinstance(found, Mapping)
        apart, ties = found["max_abs_difference"], found["max_abs_difference_of_ties"]
        print(
            f"{path}: {found['vectors'] - found['ties']} plans within {apart['mean']:.1e} of "
            f"PyTorch's; {found['ties']} where candidates score alike (within {ties['mean']:.1e})"
        )
    print(f'run it with: wmrobot.runtime.Planner.load("{out}")')
