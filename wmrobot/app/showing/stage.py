"""What an episode for people needs: its environment, and a driver that keeps up with the robot."""

import sys
import time

import numpy as np
import torch

from wmrobot.app.compiling import Compilation, CompileChoice
from wmrobot.app.controllers import Card, build_agent
from wmrobot.control.agents import AgentKind
from wmrobot.control.controller import Agent
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import refuse_changed
from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel

HEADROOM = 0.8
"""Share of a decision's time that a plan may take."""
_WARM_UP, _TIMED = 2, 5


def open_env(card: Card, seed: int) -> VectorEnv:
    """One environment as the controller knows it.

    Raises:
        TaskError: The task has changed since.
    """
    env_seed = derive_seed(seed, "demonstration")
    env = VectorEnv(card.task.name, 1, seed=env_seed, **card.env_options())
    try:
        refuse_changed(card.task, env.task_spec)
    except BaseException:
        env.close()
        raise
    return env


def build_driver(
    model: WorldModel,
    card: Card,
    kind: AgentKind,
    seed: int,
    choice: CompileChoice = False,
) -> Agent:
    """Who drives; a planner is compiled before it begins, where that is asked for.

    Args:
        model: Trained model.
        card: What it was made for.
        kind: Who drives; the planner alone is ever compiled.
        seed: Of the planner's noise.
        choice: `auto` compiles, on a CPU, a planner that takes more than `HEADROOM` of the time
            that a decision has.
    """

    def build(compiler: Compiler = leave_as_is) -> Agent:
        return build_agent(model, card, kind, seed, stream="demonstration", compiler=compiler)

    device: torch.device = next(model.parameters()).device
    if kind != "trained" or choice is False or (choice == "auto" and device.type != "cpu"):
        return build()
    if choice == "auto":
        takes, has = time_plan(build(), card), card.task.control_dt
        if takes <= HEADROOM * has:
            return build()
        print(
            f"  a plan takes {takes * 1e3:.0f} ms here, and a decision has {has * 1e3:.0f} ms",
            file=sys.stderr,
        )
    compilation = Compilation(True, device, updates=0)
    compilation.rehearse(lambda: time_plan(build(compilation), card))
    print(f"  {compilation.told}", file=sys.stderr)
    return build(compilation)


def time_plan(agent: Agent, card: Card) -> float:
    """Median time of a decision on blank observations [s]; what needs warming up is left out."""
    obs = card.task.blank_obs(1)
    times = []
    for _ in range(_WARM_UP + _TIMED):
        begin = time.perf_counter()
        agent.act(obs)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[_WARM_UP:]))
