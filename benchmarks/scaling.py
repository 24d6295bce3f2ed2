"""How cost grows: `python benchmarks/scaling.py <folder> [settings of bench]`.

Runs `wmrobot bench` over robots, samples, horizon, profiles and environments, one document each in
the folder (what is there is kept), and draws them all as `<folder>/scaling.png`. `python
benchmarks/scaling.py <folder> draw` draws what is there.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from wmrobot.app.benchmarking.script import run_script

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito
PLAN = ["parts=[plan]", "plan_batches=[1]"]
RUNS: dict[str, list[str]] = {
    "robots": ["parts=[plan]", "plan_batches=[1,2,4,8,16,32,64]"],
    "environments": [
        "parts=[env]",
        "env_batches=[1,2,4,8,16,32,64,128]",
        "env_tasks=[cheetah-run,walker-walk,humanoid-walk,quadruped-walk]",
    ],
    **{f"samples-{n}": [*PLAN, f"num_samples={n}"] for n in (64, 128, 256, 512, 1024)},
    **{f"horizon-{h}": [*PLAN, f"horizon={h}"] for h in (1, 2, 3, 4, 6, 8)},
    **{
        f"parameters-{profile}": ["parts=[plan,update]", "plan_batches=[1]", f"profile={profile}"]
        for profile in ("nano", "small", "base", "large")
    },
}


class Line(NamedTuple):
    """One line of a panel: cost [ms] against what grows."""

    label: str
    x: list[float]
    ms: list[float]


def run(folder: Path, words: list[str]) -> None:
    """Make the documents that are not there yet."""
    for name, own in RUNS.items():
        kept = folder / f"{name}.json"
        if kept.exists():
            continue
        print(f"measuring {name}", file=sys.stderr)
        command = [sys.executable, "-m", "wmrobot", "bench", "seconds=1", *own, *words, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kept.write_text(done.stdout)


def read(folder: Path, kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Document and case of every run of a kind, in the order of `RUNS`."""
    for name in RUNS:
        path = folder / f"{name}.json"
        if name.split("-")[0] == kind and path.exists():
            document = json.loads(path.read_text())
            for case in document["cases"]:
                yield document, case


def lines(folder: Path, kind: str) -> list[Line]:
    """The lines of one panel."""
    found: dict[str, Line] = {}
    for _, case in read(folder, kind):
        shape = case["shape"]
        label = shape["task"] if kind == "environments" else case["name"]
        if kind not in ("parameters", "environments") and case["name"] != "plan":
            continue
        if kind == "parameters" and case["name"] not in ("plan", "update"):
            continue
        axis = {"samples": "N", "horizon": "H", "parameters": "parameters"}.get(kind, "B")
        rows = shape["B"] if kind in ("robots", "environments") else 1
        line = found.setdefault(label, Line(label, [], []))
        line.x.append(shape[axis])
        line.ms.append(case["timing"]["p50_ms"] / rows)
    return list(found.values())


PANELS = {
    "robots": ("robots that plan together", "a plan [ms for each robot]"),
    "samples": ("samples", "a plan [ms]"),
    "horizon": ("horizon [decisions]", "a plan [ms]"),
    "parameters": ("parameters of the model", "a call [ms]"),
    "environments": ("environments", "a decision [ms for each environment]"),
}


def draw(folder: Path) -> Path:
    """One picture of all panels."""
    figure = Figure(figsize=(16, 3.6), layout="constrained")
    made: dict[str, Any] = {}
    for axes, (kind, (x_label, y_label)) in zip(
        figure.subplots(1, len(PANELS)), PANELS.items(), strict=True
    ):
        for colour, line in zip(COLOURS, lines(folder, kind), strict=False):
            axes.plot(line.x, line.ms, "o-", color=colour, ms=4, label=line.label)
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axes.set_xticks(sorted({x for line in axes.lines for x in line.get_xdata()}))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x < 1e5 else f"{x / 1e6:.1f}M")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7, which="both")
        axes.grid(visible=True, color="#e3e6ea", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if kind in ("parameters", "environments") and axes.lines:
            axes.legend(frameon=False, fontsize=7)
        made = made or next((document["made"] for document, _ in read(folder, kind)), {})
    told = (
        f"{made.get('gpu') or made.get('cpu') or made.get('machine')}, "  # cpu: older files
        f"{made.get('threads')} threads, commit {made.get('commit')}, load "
        f"{made.get('load_average')}: medians of one call; nano on walker-walk where nothing else "
        "is said"
    )
    figure.suptitle(told, x=0.01, ha="left", fontsize=9)
    path = folder / "scaling.png"
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return path


def main(words: list[str]) -> int:
    """Measure, then draw."""
    if not words or "=" in words[0]:
        print("error: expected a folder, then settings of bench, or `draw`", file=sys.stderr)
        return 2
    folder, *rest = words
    Path(folder).mkdir(parents=True, exist_ok=True)
    if rest != ["draw"]:
        run(Path(folder), rest)
    print(draw(Path(folder)))
    return 0


if __name__ == "__main__":
    run_script(main, __doc__)
