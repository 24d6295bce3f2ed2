"""From the settings of a run to its parts."""

from contextlib import closing
from dataclasses import replace

import pytest

from tests.runs import tiny
from tests.tiny import make_card
from wmrobot.app.training.build import build_card
from wmrobot.envs.registry import make_env
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig, widen


@pytest.mark.parametrize("cfg", [MppiConfig(), CemConfig(), IcemConfig(iterations=3)])
@pytest.mark.parametrize(("action_dim", "more"), [(1, 0), (19, 0), (20, 2), (38, 2)])
def test_robot_with_many_actuators_is_planned_for_in_more_rounds(
    cfg: PlannerConfig, action_dim: int, more: int
) -> None:
    wider = widen(cfg, action_dim=action_dim, extra_iterations=2)
    assert wider == replace(cfg, iterations=cfg.iterations + more)
    assert widen(cfg, action_dim=action_dim, extra_iterations=0) == cfg


@pytest.mark.parametrize(
    ("action_dim", "changes", "iterations"),
    [
        (21, {}, 1 + 2),
        (6, {}, 1),
        (21, {"extra_iterations": 0}, 1),
        (38, {"extra_iterations": 5}, 6),
    ],
)
def test_card_tells_the_rounds_that_are_made(
    action_dim: int, changes: dict[str, int], iterations: int
) -> None:
    spec = replace(make_card("cartpole-swingup").task, action_dim=action_dim)
    assert build_card(tiny(**changes), spec, {}).planner == replace(
        tiny().planner, iterations=iterations
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "action_dim", "iterations"),
    [("dog-run", 38, 3), ("humanoid-walk", 21, 3), ("quadruped-run", 12, 1)],
)
def test_suite_robots_get_the_rounds_that_tdmpc2_gives_them(
    task: str, action_dim: int, iterations: int
) -> None:
    with closing(make_env(task, seed=0)) as env:
        spec = env.task_spec
    assert spec.action_dim == action_dim
    assert build_card(tiny(task), spec, {}).planner.iterations == iterations
