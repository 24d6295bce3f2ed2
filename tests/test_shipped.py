"""Shipped controllers: whole, small, told of, and as good at their tasks as they say."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from wmrobot.app.controllers import (
    check_card,
    find_controller,
    read_controller,
    shipped_controllers,
)
from wmrobot.app.rollout import evaluate

SHIPPED = shipped_controllers()
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 40_000_000
each_task = pytest.mark.parametrize("task", sorted(SHIPPED))


def promised(task: str) -> float:
    """Mean return that the card tells."""
    (mean,) = re.findall(r"\(shipped\) \| ([\d.]+) \|", (SHIPPED[task] / "CARD.md").read_text())
    return float(mean)


def test_together_they_are_small() -> None:
    sizes = [file.stat().st_size for folder in SHIPPED.values() for file in folder.iterdir()]
    assert 0 < sum(sizes) < MOST_BYTES


@each_task
def test_readme_tells_of_each(task: str) -> None:
    table = README.partition("<!-- shipped controllers: begin -->")[2]
    assert f"| `{task}` |" in table.partition("<!-- shipped controllers: end -->")[0]


@each_task
def test_each_is_whole_and_of_its_task(task: str) -> None:
    model, card = read_controller(SHIPPED[task], torch.device("cpu"))
    name, _, obs = task.partition("@")
    assert card.task.name == name
    assert obs in ("", card.obs)
    assert all(bool(values.isfinite().all()) for values in model.state_dict().values())
    folder = find_controller(task=task, run=None)
    assert folder == SHIPPED[task]
    assert check_card(card, folder, task=task) == card


@pytest.mark.slow
@each_task
def test_each_earns_what_its_card_says(task: str) -> None:
    model, card = read_controller(SHIPPED[task], torch.device("cpu"))
    episodes = 2 if card.task.episode_decisions >= 500 else 4
    rollout = evaluate(model.eval(), card, episodes=episodes, seed=7)
    returns = [episode.reward for episode in rollout.episodes]
    assert np.mean(returns) > 0.7 * promised(task)  # a few starts only, one of which may be bad
