"""One robot, one episode, at its real control rate: what a demonstration shows and measures."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmrobot.app.showing.trace import EpisodeTrace
from wmrobot.control.controller import Agent, Controller
from wmrobot.core.clock import Clock, SystemClock
from wmrobot.core.errors import TaskError
from wmrobot.core.spec import TaskSpec
from wmrobot.envs.vector import VectorEnv

FRAME_SIZE = 480
_UPRIGHT = math.cos(math.radians(10))


@dataclass(frozen=True, kw_only=True)
class Drive:
    """One driven episode of T decisions.

    Attributes:
        rewards: (T,) of each decision.
        actions: (T, A) executed.
        plans: (T, H, A) mean of each plan; the actions themselves for an agent that plans nothing.
        imagined: (T,) return that each plan expected; NaN for an agent that plans nothing.
        act_ms: (T,) time that each decision took [ms].
        late: Decisions that were not ready when the next one was due.
        upright_s: Time that the pole stood within 10 degrees of upright [s]; None without a pole.
        terminated: Whether the episode ended before its time.
        success: Whether the task calls it a success.
        states: What was there before each decision, to draw it afterwards; where an environment
            cannot go back, its picture. Empty where not asked for.
        undrawn: Why there is no picture of it; None where it can be drawn.
    """

    rewards: np.ndarray
    actions: np.ndarray
    plans: np.ndarray
    imagined: np.ndarray
    act_ms: np.ndarray
    late: int
    upright_s: float | None
    terminated: bool
    success: bool
    states: tuple[Mapping[str, Any] | np.ndarray, ...] = ()
    undrawn: str | None = None


def drive(
    agent: Agent,
    env: VectorEnv,
    *,
    clock: Clock | None,
    keep_states: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Drive:
    """Drive the one robot of `env` for one episode.

    Args:
        agent: Who drives.
        env: One environment.
        clock: Keep to this clock, as a robot would; None drives as fast as it goes, and measures
            only.
        keep_states: Remember every state, for `film`.
        on_step: Called after every decision, for a window.
    """
    spec = env.task_spec
    agent.reset()
    obs = env.reset()
    upright = _find_pole(spec)
    rows: list[tuple[float, np.ndarray, np.ndarray, float, float]] = []
    states: list[Mapping[str, Any] | np.ndarray] = []
    undrawn: str | None = None
    late, upright_ticks = 0, 0
    watch = clock or SystemClock()
    due = watch.now()
    while True:
        begin = watch.now()
        action = agent.act(obs)
        act_s = watch.now() - begin
        late += act_s > spec.control_dt
        if keep_states and undrawn is None:
            try:
                states.append(_keep(env))
            except TaskError as error:
                undrawn = str(error)
        step = env.step(action)
        on_step()
        plan, imagined = _planned(agent, action)
        rows.append((float(step.reward[0]), action[0], plan, imagined, act_s * 1e3))
        if upright is not None:
            upright_ticks += bool(step.final_obs["state"][0, upright] > _UPRIGHT)
        if step.ended[0]:
            break
        obs = step.obs
        if clock is not None:
            due = max(due + spec.control_dt, clock.now())  # a late tick is not caught up with
            clock.sleep(due - clock.now())
    rewards, actions, plans, imagined_returns, act_ms = map(np.array, zip(*rows, strict=True))
    return Drive(
        rewards=rewards,
        actions=actions,
        plans=plans,
        imagined=imagined_returns,
        act_ms=act_ms,
        late=late,
        upright_s=None if upright is None else upright_ticks * spec.control_dt,
        terminated=bool(step.terminated[0]),
        success=bool(step.success[0]),
        states=tuple(states),
        undrawn=undrawn,
    )


def film(episode: Drive, env: VectorEnv, *, title: str) -> EpisodeTrace:
    """Draw an episode that was driven with `keep_states`; `env` is left in its last state.

    Raises:
        TaskError: It cannot be drawn.
    """
    if episode.undrawn is not None:
        raise TaskError(episode.undrawn)
    frames = []
    for state in episode.states:
        if isinstance(state, np.ndarray):
            frames.append(state)
            continue
        env.restore(state)
        frames.append(_draw(env))
    spec = env.task_spec
    return EpisodeTrace(
        frames=frames,
        rewards=episode.rewards,
        actions=episode.actions,
        plans=episode.plans,
        imagined=episode.imagined,
        control_dt=spec.control_dt,
        title=title,
        action_names=spec.action_names or tuple(f"action {i}" for i in range(spec.action_dim)),
        plan_ms=episode.act_ms,
    )


def _keep(env: VectorEnv) -> Mapping[str, Any] | np.ndarray:
    """The state of the one row, or a picture of it where it cannot be told."""
    snapshot: Mapping[str, Any] = env.snapshot()
    return _draw(env) if None in snapshot["rows"].values() else snapshot


def _draw(env: VectorEnv) -> np.ndarray:
    return env.frame(0, FRAME_SIZE, FRAME_SIZE, 0)


def _planned(agent: Agent, action: np.ndarray) -> tuple[np.ndarray, float]:
    """Plan (H, A) of the agent's only robot, and the return it expects."""
    if not isinstance(agent, Controller):
        return action, math.nan
    plan = agent.plan
    return plan.mean[0].cpu().numpy(), float(plan.value[0])


def _find_pole(spec: TaskSpec) -> int | None:
    """Where the observation tells the cosine of a pole's angle to upright."""
    return spec.obs_names.index("pole_cos") if "pole_cos" in spec.obs_names else None
