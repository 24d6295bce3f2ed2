"""Timings of the environments: decisions on states, pictures alone, decisions with pictures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np

from wmrobot.app.bench_timing import Case, measure
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import FloatArray
from wmrobot.envs.registry import make_env, task_info
from wmrobot.envs.render import Renderer, choose_backend, make_renderer
from wmrobot.envs.task import RenderMode, TaskEnv
from wmrobot.envs.vector import VectorEnv

_COMPARED = 10  # pictures whose difference to the exact ones is told


def env_cases(
    tasks: tuple[str, ...], batches: tuple[int, ...], *, seed: int, workers: int, seconds: float
) -> Iterator[Case]:
    """Decisions on states, with random actions; the resets at the ends of episodes count.

    Where rows are stepped as a batch, MuJoCo's own batch is timed beside it: physics alone, with
    as many threads. `share_of_bare` is its median time over that of a decision, which leaves
    resets out.

    Args:
        tasks: Names.
        batches: Environments stepped together.
        seed: Of environments and actions.
        workers: Processes that step them; 0 steps them here.
        seconds: Budget of one case [s].
    """
    for task in tasks:
        for batch in batches:
            with VectorEnv(task, batch, seed=derive_seed(seed, "bench"), workers=workers) as env:
                case = _decisions(env, "env", {"workers": workers}, seconds)
                bare = env.bare_physics()
                yield case if bare is None else _beside(case, env, bare, seconds)


def _beside(case: Case, env: VectorEnv, bare: Callable[[FloatArray], None], seconds: float) -> Case:
    """The same case with the rate of its physics alone, and the median's share of that."""
    generator = make_numpy_generator(0, "bench actions")
    shape = env.num_envs, env.task_spec.action_dim

    def draw() -> FloatArray:
        return generator.uniform(-1, 1, shape).astype(np.float32)

    alone = measure(draw, bare, seconds=seconds)
    figures = {
        "bare_per_s": 1e3 * env.num_envs / alone.mean_ms,
        "share_of_bare": alone.p50_ms / case.timing.p50_ms,
    }
    return replace(case, figures={**case.figures, **figures})


def _decisions(env: VectorEnv, part: str, shape: dict[str, int | str], seconds: float) -> Case:
    """Decisions of all rows of one environment."""
    spec, batch = env.task_spec, env.num_envs
    generator = make_numpy_generator(0, "bench actions")

    def draw() -> FloatArray:
        return generator.uniform(-1, 1, (batch, spec.action_dim)).astype(np.float32)

    env.reset()
    return Case(
        part=part,
        name="step",
        shape={"task": spec.name, "B": batch, "action_repeat": spec.action_repeat, **shape},
        timing=measure(draw, env.step, seconds=seconds),
        unit="decisions",
        per_call=batch,
    )


def pixel_cases(
    tasks: tuple[str, ...], *, seed: int, image_size: int, seconds: float
) -> Iterator[Case]:
    """Pictures alone, each of a new state, and whole decisions that end with one.

    Every way to draw is compared with `exact`, as dm_control draws: times its rate, and the mean
    difference of the pictures. Without OpenGL there is the ray caster only, and nothing to compare.

    Args:
        tasks: Names.
        seed: Of environments and actions.
        image_size: Height and width [pixels].
        seconds: Budget of one case [s].

    Raises:
        ConfigError: A task has no MuJoCo simulation to draw.
    """
    modes: tuple[RenderMode, ...] = ("exact", "near", "fast", "ray")
    if choose_backend() == "ray":
        modes = ("ray",)
    for task in tasks:
        exact: dict[str, float] = {}  # rates
        for mode in modes:
            for case in (
                _pictures(task, mode, seed, image_size, seconds),
                _pixel_decisions(task, mode, seed, image_size, seconds),
            ):
                exact.setdefault(case.name, case.per_s)
                ratio = {} if modes[0] == "ray" else {"times_exact": case.per_s / exact[case.name]}
                yield replace(case, figures={**case.figures, **ratio})


def _pictures(task: str, mode: RenderMode, seed: int, size: int, seconds: float) -> Case:
    """Pictures of the task's first camera."""
    camera = task_info(task).cameras[0]
    with ExitStack() as stack:
        drive = _Drive(stack.enter_context(closing(make_env(task, seed=seed))))
        exact, drawn = (
            stack.enter_context(closing(drive.renderer(size, kind))) for kind in ("exact", mode)
        )
        differences = []
        for _ in range(_COMPARED):
            drive.step()
            pair = [each.picture(camera).astype(np.float64) for each in (exact, drawn)]
            differences.append(np.abs(pair[1] - pair[0]).mean())
        timing = measure(drive.step, lambda _: drawn.picture(camera), seconds=seconds)
    return Case(
        part="pixels",
        name="picture",
        shape={"task": drive.task, "B": 1, "image_size": size, "render": mode},
        timing=timing,
        unit="frames",
        figures={"mean_difference": float(np.mean(differences))},
    )


def _pixel_decisions(task: str, mode: RenderMode, seed: int, size: int, seconds: float) -> Case:
    """What training on pictures waits for."""
    shape: dict[str, int | str] = {"image_size": size, "render": mode}
    with VectorEnv(
        task, 1, seed=derive_seed(seed, "bench"), obs="rgb", render=mode, image_size=size
    ) as env:
        return _decisions(env, "pixels", shape, seconds)


class _Drive:
    """One environment under random actions."""

    def __init__(self, env: TaskEnv) -> None:
        self._env, self.task = env, env.task_spec.name
        self._generator = make_numpy_generator(0, "bench actions")
        env.reset()

    def step(self) -> None:
        """One decision; after an episode's end, the start of the next."""
        action = self._generator.uniform(-1, 1, self._env.task_spec.action_dim)
        _, _, terminated, truncated, _ = self._env.step(action.astype(np.float32))
        if terminated or truncated:
            self._env.reset()

    def renderer(self, size: int, mode: RenderMode) -> Renderer:
        """Draws it.

        Raises:
            ConfigError: MuJoCo does not simulate it.
        """
        if self._env.physics is None:
            raise ConfigError(f"pixel_tasks: expected tasks that MuJoCo simulates, got {self.task}")
        return make_renderer(self._env.physics, height=size, width=size, mode=mode)
