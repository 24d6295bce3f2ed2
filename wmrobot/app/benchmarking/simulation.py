"""Timings of the environments: decisions on states, pictures alone, decisions with pictures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from wmrobot.app.benchmarking.timing import Case, Timing, measure, measure_in_turns
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import FloatArray
from wmrobot.envs.registry import canonical_name, make_env, task_info
from wmrobot.envs.render import Renderer, choose_backend, make_renderer
from wmrobot.envs.suite import load_suite, suite_names
from wmrobot.envs.task import RenderMode, TaskEnv
from wmrobot.envs.vector import VectorEnv

if TYPE_CHECKING:
    from wmrobot.envs.bare_physics import BarePhysics

_COMPARED = 10  # pictures whose difference to the exact ones is told


def env_cases(
    tasks: tuple[str, ...], batches: tuple[int, ...], *, seed: int, workers: int, seconds: float
) -> Iterator[Case]:
    """Decisions on states, with random actions; the resets at the ends of episodes count.

    Where rows are stepped as a batch, MuJoCo's own batch takes turns with it, on as many threads,
    with the same controls in the same states: physics alone. With 2 threads and more, so does the
    same environment on one. See `_race`.

    Args:
        tasks: Names.
        batches: Environments stepped together.
        seed: Of environments and actions.
        workers: Processes that step them; 0 steps them here. Threads, where rows are a batch.
        seconds: Budget of one case [s].
    """
    for task in tasks:
        for batch in batches:
            with ExitStack() as stack:
                start = partial(_start, stack, task, batch, derive_seed(seed, "bench"))
                env = start(workers)
                bare = env.bare_physics()
                if bare is None:
                    figures: dict[str, float] = {}
                    timing = measure(_actions(env), env.step, seconds=seconds)
                else:
                    alone = start(1) if workers > 1 else None
                    timing, figures = _race(env, bare, alone, seconds)
                yield _decisions(env, "env", {"workers": workers}, timing, figures)


def _start(stack: ExitStack, task: str, batch: int, seed: int, workers: int) -> VectorEnv:
    """Environments whose first episodes have started; the stack closes them."""
    env = stack.enter_context(VectorEnv(task, batch, seed=seed, workers=workers))
    env.reset()
    return env


def _race(
    env: VectorEnv, bare: "BarePhysics", alone: VectorEnv | None, seconds: float
) -> tuple[Timing, dict[str, float]]:
    """Time decisions of an environment beside bare physics, and beside one thread.

    Returns:
        Its own timing. `bare_per_s`, `share_of_bare`: the rate of the physics alone, and its median
        time over that of a decision, which leaves resets out; `share_with_resets`: the same of the
        means. `times_one_thread`: how many times faster than on one thread, by the medians.
    """
    draw = _actions(env)

    def prepare() -> FloatArray:
        actions = draw()
        bare.follow()
        bare.take(actions)
        return actions

    calls: dict[str, Callable[[FloatArray], object]] = {
        "env": env.step,
        "bare": lambda _: bare.step(),
    }
    if alone is not None:
        calls["alone"] = alone.step
    timings = measure_in_turns(prepare, calls, seconds=seconds)
    ours, physics = timings["env"], timings["bare"]
    figures = {
        "bare_per_s": 1e3 * env.num_envs / physics.mean_ms,
        "share_of_bare": physics.p50_ms / ours.p50_ms,
        "share_with_resets": physics.mean_ms / ours.mean_ms,
    }
    if alone is not None:
        figures["times_one_thread"] = timings["alone"].p50_ms / ours.p50_ms
    return ours, figures


def _actions(env: VectorEnv) -> Callable[[], FloatArray]:
    """Draws random actions of all rows."""
    generator = make_numpy_generator(0, "bench actions")
    shape = env.num_envs, env.task_spec.action_dim
    return lambda: generator.uniform(-1, 1, shape).astype(np.float32)


def _decisions(
    env: VectorEnv,
    part: str,
    shape: dict[str, int | str],
    timing: Timing,
    figures: dict[str, float],
) -> Case:
    """Decisions of all rows of one environment."""
    spec, batch = env.task_spec, env.num_envs
    return Case(
        part=part,
        name="step",
        shape={"task": spec.name, "B": batch, "action_repeat": spec.action_repeat, **shape},
        timing=timing,
        unit="decisions",
        per_call=batch,
        figures=figures,
    )


def pixel_cases(
    tasks: tuple[str, ...], batches: tuple[int, ...], *, seed: int, image_size: int, seconds: float
) -> Iterator[Case]:
    """Pictures alone, each of a new state, and whole decisions that end with one.

    Pictures are compared with `exact`, the same as dm_control's to the pixel: times its rate, and
    the mean difference. Decisions are compared with dm_control's own, which `physics.render` ends.
    Without OpenGL there is the ray caster only, and nothing to compare.

    Args:
        tasks: Names.
        batches: Environments stepped together, by one thread.
        seed: Of environments and actions.
        image_size: Height and width [pixels].
        seconds: Budget of one case [s].

    Raises:
        ConfigError: A task has no MuJoCo simulation to draw.
    """
    modes: tuple[RenderMode, ...] = ("exact", "near", "fast", "ray")
    if choose_backend() == "ray":
        modes = ("ray",)
    compared = modes[0] == "exact"
    for task in tasks:
        exact: Case | None = None
        for mode in modes:
            case = _pictures(task, mode, seed, image_size, seconds)
            exact = exact or case
            ratio = {"times_exact": case.per_s / exact.per_s} if compared else {}
            yield replace(case, figures={**case.figures, **ratio})
        plain = _plain_decisions(task, seed, image_size, seconds) if compared else None
        if plain is not None:
            yield plain
        for mode in modes:
            for batch in batches:
                case = _pixel_decisions(task, batch, mode, seed, image_size, seconds)
                ratio = {"times_dm_control": case.per_s / plain.per_s} if plain else {}
                yield replace(case, figures=ratio)


def _plain_decisions(task: str, seed: int, size: int, seconds: float) -> Case | None:
    """dm_control alone, without a line of ours; None where it does not simulate the task."""
    name, info = canonical_name(task), task_info(task)
    if name not in suite_names():
        return None
    env = load_suite(name, seed)
    env.reset()
    spec, generator = env.action_spec(), make_numpy_generator(0, "bench actions")

    def decide(action: np.ndarray) -> None:
        for _ in range(info.action_repeat):
            timestep = env.step(action)
        if timestep.last():
            env.reset()
        env.physics.render(size, size, camera_id=info.cameras[0])

    try:
        timing = measure(
            lambda: generator.uniform(spec.minimum, spec.maximum), decide, seconds=seconds
        )
    finally:
        env.physics.free()
    shape: dict[str, int | str] = {"task": name, "B": 1, "action_repeat": info.action_repeat}
    shape |= {"image_size": size, "render": "dm_control"}
    return Case(part="pixels", name="step", shape=shape, timing=timing, unit="decisions")


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


def _pixel_decisions(
    task: str, batch: int, mode: RenderMode, seed: int, size: int, seconds: float
) -> Case:
    """What training on pictures waits for."""
    shape: dict[str, int | str] = {"image_size": size, "render": mode}
    with VectorEnv(
        task, batch, seed=derive_seed(seed, "bench"), obs="rgb", render=mode, image_size=size
    ) as env:
        env.reset()
        timing = measure(_actions(env), env.step, seconds=seconds)
        return _decisions(env, "pixels", shape, timing, {})


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
