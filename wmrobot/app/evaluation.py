"""One evaluation: deterministic episodes in environments of its own, the same ones every time."""

from collections.abc import Callable
from typing import Any

from wmrobot.app.controllers import Card, make_controller
from wmrobot.app.rollout import Rollout, run_episodes
from wmrobot.control.agents import AgentKind, make_agent
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.envs.suite import find_suite_task
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import PlannerConfig


def evaluate(
    model: WorldModel,
    card: Card,
    *,
    episodes: int,
    seed: int,
    agent: AgentKind = "trained",
    planner: PlannerConfig | None = None,
    workers: int = 0,
    record: bool = False,
    stop: Callable[[], bool] = lambda: False,
    compiler: Compiler = leave_as_is,
    watch: Callable[[VectorEnv], None] = lambda env: None,
) -> Rollout:
    """Run `episodes` episodes without exploration, side by side.

    Nothing outside is touched: the same model and seed give the same episodes, whenever they run.

    Args:
        model: Trained model.
        card: What it was made for.
        episodes: How many.
        seed: Of the environments and of the planner's noise.
        agent: Who drives.
        planner: Planner to use instead of the card's.
        workers: Processes for the environments.
        record: Keep the episodes' data.
        compiler: Makes planning faster.
        watch: Called before every decision, to look at the environments.
        stop: Asked before every decision; True leaves out the episodes that have not ended.
    """
    device = next(model.parameters()).device
    controller = make_controller(
        model, card, make_generator(seed, "evaluation", device), planner, compiler
    )
    driver = make_agent(agent, controller, make_numpy_generator(seed, "random agent"))
    options: dict[str, Any] = card.env_options()
    env_seed = derive_seed(seed, "evaluation environments")
    with VectorEnv(card.task.name, episodes, seed=env_seed, workers=workers, **options) as env:
        rollout = run_episodes(driver, env, record=record, stop=stop, watch=watch)
    rollout.tells_success = find_suite_task(card.task.name) is None  # the suite's tasks do not
    return rollout
