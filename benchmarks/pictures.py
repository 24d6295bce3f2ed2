"""Every way to draw, side by side: `python benchmarks/pictures.py <file.png> [tasks]`.

Each picture is of 64 x 64 pixels, as a robot sees it; under it the mean absolute difference to
dm_control's own, in grey levels, over 20 states that random actions lead to.
"""

import sys
from contextlib import ExitStack, closing

import numpy as np
from matplotlib.figure import Figure

from wmrobot.app.benchmarking.script import run_script
from wmrobot.core.random import make_numpy_generator
from wmrobot.envs.registry import make_env, task_info
from wmrobot.envs.render import choose_backend, make_renderer
from wmrobot.envs.task import RenderMode

MODES: tuple[RenderMode, ...] = ("exact", "near", "fast", "ray")
TASKS = ("walker-walk", "cheetah-run", "cartpole-swingup", "humanoid-walk", "quadruped-walk")
STATES, EVERY = 20, 10  # states that are drawn, decisions between them


def look(task: str) -> dict[str, tuple[np.ndarray, float]]:
    """The last picture of each mode, and its mean difference to the exact one."""
    generator = make_numpy_generator(0, "pictures")
    with ExitStack() as stack:
        env = stack.enter_context(closing(make_env(task, seed=1)))
        env.reset()
        drawers = {
            mode: stack.enter_context(
                closing(make_renderer(env.physics, height=64, width=64, mode=mode))
            )
            for mode in MODES
        }
        camera, differences = task_info(task).cameras[0], dict.fromkeys(MODES, 0.0)
        for _ in range(STATES):
            for _ in range(EVERY):
                env.step(generator.uniform(-1, 1, env.task_spec.action_dim).astype(np.float32))
            seen = {mode: drawer.picture(camera) for mode, drawer in drawers.items()}
            for mode, picture in seen.items():
                difference = np.abs(picture.astype(int) - seen["exact"]).mean()
                differences[mode] += float(difference) / STATES
    return {mode: (seen[mode], differences[mode]) for mode in MODES}


def main(words: list[str]) -> int:
    """Draw all tasks into one file."""
    if not words or not words[0].endswith(".png"):
        print("error: expected a file.png, then names of tasks", file=sys.stderr)
        return 2
    if choose_backend() == "ray":
        print("error: expected OpenGL, found none: apt install libegl1 libgl1", file=sys.stderr)
        return 2
    path, *tasks = words
    tasks = tasks or list(TASKS)
    figure = Figure(figsize=(1.9 * len(MODES), 2.1 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(MODES), squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        for axes, (mode, (picture, difference)) in zip(row, look(task).items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[], xlabel=f"difference {difference:.2f}")
            axes.set_title(f"{task}, {mode}", fontsize=8)
            axes.xaxis.label.set_size(8)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return 0


if __name__ == "__main__":
    run_script(main, __doc__)
