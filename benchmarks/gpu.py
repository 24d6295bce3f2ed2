"""All that needs a GPU, in a few calls: `python benchmarks/gpu.py [out=<folder>] [stages=a,b]`.

Stages: `tests` (those of a GPU), `bench` (plans of up to 4,096 robots, and updates; nano, base and
large, fp32 and bf16, eager and compiled), `reference` (beside a plain TD-MPC2, eager and
compiled with CUDA graphs), `online` (training end to end), `pixels` (environments, and pictures by
EGL).
Every piece is a process of its own that leaves one file in the folder, as soon as it is done, and a
log of what it said; where it failed, the log alone. What is there already is not done again,
so that a call that was cut off goes on with the next.

`device=cpu tiny=true` tries the script itself: small shapes, short times.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from wmrobot.app.benchmarking.script import run_script

ROOT = Path(__file__).parents[1]
STAGES = ("tests", "bench", "reference", "online", "pixels")
TINY = (
    "latent_dim=16", "mlp_dim=8", "enc_dim=8", "num_samples=16", "num_elites=4",
    "planner.num_prior=2", "batch_size=8", "threads=1",
)  # fmt: skip
KEYS = {"out": "gpu-results", "device": "cuda", "stages": ",".join(STAGES), "tiny": "false"}


class Piece(NamedTuple):
    """One process: the file that it leaves, and its words after `python`."""

    name: str
    words: list[str]


def pieces(stage: str, device: str, *, tiny: bool) -> Iterator[Piece]:
    """What a stage runs."""
    match stage:
        case "tests":
            chosen = "not gpu and not slow" if device == "cpu" else "gpu"
            yield Piece("tests.txt", ["-m", "pytest", "-q", "-m", chosen, "tests/test_gpu.py"])
        case "bench":
            yield from _bench(device, tiny=tiny)
        case "reference":
            words = ["seconds=0.1", "profile=base", "threads=1"] if tiny else ["seconds=20"]
            yield Piece(
                "reference.json", ["benchmarks/against_reference.py", f"device={device}", *words]
            )
        case "online":
            for profile, envs in (("nano", 1),) if tiny else (("nano", 16), ("base", 16)):
                words = [f"profile={profile}", f"num_envs={envs}", f"device={device}"]
                words += ["seconds=0.2", "compile=false", *TINY] if tiny else ["compile=true"]
                yield Piece(
                    f"online-{profile}.json", ["benchmarks/online.py", "task=walker-walk", *words]
                )
        case "pixels":
            yield from _pixels(device, tiny=tiny)


def _bench(device: str, *, tiny: bool) -> Iterator[Piece]:
    """Plans and updates of every profile in both precisions, eager and compiled.

    Each number of robots is a piece of its own: where memory does not do for the most of them, the
    others are kept.
    """
    batches = (1,) if tiny else (1, 16, 256, 1024, 4096)
    cases = {f"plan-{batch}": ["parts=[plan]", f"plan_batches=[{batch}]"] for batch in batches}
    cases["update"] = ["parts=[update]"]
    for profile in ("nano",) if tiny else ("nano", "base", "large"):
        for precision in ("fp32",) if tiny else ("fp32", "bf16"):
            for compiled in ("false",) if tiny else ("false", "true"):
                words = [f"profile={profile}", f"model.precision={precision}", f"device={device}"]
                words += [f"compile={compiled}"]
                words += ["seconds=0.01", *TINY] if tiny else ["seconds=1"]
                kind = "compiled" if compiled == "true" else "eager"
                for name, own in cases.items():
                    yield _bench_piece(f"bench-{profile}-{precision}-{kind}-{name}", own + words)


def _pixels(device: str, *, tiny: bool) -> Iterator[Piece]:
    """Environments, and pictures by every way to draw, for each number of them."""
    words = [f"device={device}"]
    if tiny:
        words += ["seconds=0.01", "env_tasks=[cartpole-swingup]", "pixel_tasks=[cartpole-swingup]"]
    else:
        words += ["seconds=2", "workers=16"]
    for batch in (2,) if tiny else (16, 256):
        yield _bench_piece(f"env-{batch}", ["parts=[env]", f"env_batches=[{batch}]", *words])
    for batch in (1,) if tiny else (1, 8):
        own = ["parts=[pixels]", f"pixel_batches=[{batch}]"]
        yield _bench_piece(f"pixels-{batch}", [*own, *words])


def _bench_piece(name: str, words: list[str]) -> Piece:
    return Piece(f"{name}.json", ["-m", "wmrobot", "bench", *words, "--json"])


def run(piece: Piece, folder: Path) -> bool:
    """Run one process; whether it went well."""
    kept = folder / piece.name
    log = kept.with_suffix(".log")
    if kept.exists():
        return True
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *piece.words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": _import_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    went_well = done.returncode == 0
    log.write_text(" ".join(piece.words) + f"\n{done.stderr}" + ("" if went_well else done.stdout))
    if went_well:
        kept.write_text(done.stdout)
    told = "done" if went_well else f"failed, see {log}"
    print(f"{piece.name}: {told} ({time.perf_counter() - begin:.0f} s)", flush=True)
    return went_well


def _import_path() -> str:
    """The checkout first: a script knows its own folder alone."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), *([given] if given else [])])


def main(words: list[str]) -> int:
    """Run the stages; 0, 1 where a piece failed, 2 where it cannot start."""
    given = dict(word.partition("=")[::2] for word in words)
    settings = KEYS | given
    stages = settings["stages"].split(",")
    if wrong := [*(given.keys() - KEYS.keys()), *(s for s in stages if s not in STAGES)]:
        print(
            f"error: {wrong[0]}: expected {', '.join(f'{key}=' for key in KEYS)} and stages of "
            f"{', '.join(STAGES)}",
            file=sys.stderr,
        )
        return 2
    if settings["device"] == "cuda" and not torch.cuda.is_available():
        print(
            "error: device: expected a CUDA device, found none; device=cpu tiny=true tries the "
            "script without one",
            file=sys.stderr,
        )
        return 2
    folder = Path(settings["out"])
    folder.mkdir(parents=True, exist_ok=True)
    tiny = settings["tiny"] == "true"
    todo = [piece for stage in stages for piece in pieces(stage, settings["device"], tiny=tiny)]
    outcomes = [run(piece, folder) for piece in todo]  # what fails does not stop the others
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    run_script(main, __doc__)
