"""Training runs small enough to be started, broken off and compared many times in a test."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.training.progress import Progress
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.training.trainer import Trainer
from wmrobot.core.config import build

TASKS = Path(__file__).parent / "fixtures" / "tiny.py"
CART, OPAQUE, COUNTER, REACH = (
    f"{TASKS}:{name}" for name in ("cart", "opaque", "counter", "reach")
)
PLAIN: Mapping[str, Any] = {
    "profile": None,
    "device": "cpu",
    "threads": 1,
    "compile": False,  # also in runs that have many decisions ahead and are broken off
    "model": {
        "latent_dim": 16, "mlp_dim": 16, "enc_dim": 16, "num_channels": 4, "num_q": 2,
        "num_bins": 11, "dropout": 0.1,
    },
    "planner": {"iterations": 1, "num_samples": 16, "num_elites": 4, "num_prior": 2},
    "learner": {"batch_size": 8},
    "steps": 60,
    "seed_steps": 15,
    "updates_per_decision": 0.7,
    "eval_freq": 30,
    "eval_episodes": 1,
    "save_freq": 12,
    "log_freq": 7,
}  # fmt: skip


def tiny(task: str = CART, **changes: Any) -> TrainConfig:
    """Settings of a tiny run: about a second of work."""
    return build(
        TrainConfig,
        {"task": task, **PLAIN, "planner": {"kind": "mppi"} | PLAIN["planner"], **changes},
    )


def words(task: str = CART, **changes: Any) -> list[str]:
    """The same as the command line takes it."""

    def flat(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{path}{name}.")
            else:
                yield f"{path}{name}={'null' if value is None else value}"

    return [f"task={task}", *flat({**PLAIN, **changes})]


@contextmanager
def opened(cfg: TrainConfig, run: Path) -> Iterator[Trainer]:
    """A trainer where its run is: at the last checkpoint, or at the beginning."""
    torch.set_num_threads(1)
    run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg, run, torch.device("cpu"), {})
    try:
        saved = checkpoint_folders(run)
        if saved:
            trainer.resume(saved[-1])
        else:
            trainer.logs.clear()
            trainer.begin()
        yield trainer
    finally:
        trainer.close()


class Death(BaseException):
    """What ends a process, at a moment that it does not choose."""


def play(cfg: TrainConfig, run: Path, *, stop: int | None = None, die: int | None = None) -> bool:
    """Begin or go on with a run.

    Args:
        cfg: Its settings.
        run: Its folder.
        stop: Decisions after which Ctrl-C comes; the run is saved.
        die: Decisions after which the process dies; nothing more is written.

    Returns:
        Whether it is finished.
    """
    with opened(cfg, run) as trainer:

        def show(progress: Progress) -> None:
            if stop is not None and progress.counters.decisions >= stop:
                trainer.stop_requested = True
            if die is not None and progress.counters.decisions >= die:
                raise Death

        try:
            return trainer.loop(show)
        except Death:
            return False


def silent(progress: Progress) -> None:
    """Shows nothing."""


def calls(method: Callable[..., Any], number: int, then: Callable[[], None]) -> Callable[..., Any]:
    """`method`, which does something more in its call of that number, counted from 1."""
    count = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            then()
        return method(*args, **options)

    return counted


def end_of(cfg: TrainConfig, run: Path) -> dict[str, Any]:
    """All that a run has come to: tables, weights, optimisers, streams, the next 100 batches."""
    with opened(cfg, run) as trainer:
        end = {
            "weights": {name: value.numpy() for name, value in trainer.model.state_dict().items()},
            "learner": trainer.learner.state(),
            "controller": trainer.controller.state(),
            "counters": vars(trainer.counters),
            "metrics": {name: value.numpy() for name, value in trainer.lessons.metrics.items()},
            "env": {} if cfg.offline else trainer.env.snapshot(),
            "heads": trainer.replay.heads,
            "num_samples": trainer.replay.num_samples,
        }
        for index in range(100):
            batch = trainer.replay.sample(trainer.lessons._sampler, 8)
            obs = {name: value.numpy() for name, value in batch.obs.items()}
            rest = [value.numpy() for value in batch[1:5]]
            plan = [] if batch.plan is None else [value.numpy() for value in batch.plan]
            end[f"batch {index}"] = [obs, *rest, *plan]
    tables = {name: (run / name).read_bytes() for name in ("eval.csv", "train.csv")}
    return {**end, **tables}


def assert_same(one: Any, other: Any, path: str = "") -> None:
    """Two trees are equal, bit for bit."""
    assert type(one) is type(other), path
    if isinstance(one, Mapping):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}/{index}")
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, path
        assert one.tobytes() == other.tobytes(), path
    else:
        assert one == other, path


def snapshot_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its contents, but for TensorBoard's and the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "tensorboard" and path.name != ".lock"
    }
