"""The figure that broke first is named, whatever broke after it."""

import math

import torch

from wmrobot.learn.watch import Watch


def figures(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_nothing_is_named_while_all_are_finite() -> None:
    watch = Watch()
    assert watch.first() is None
    watch.note({}, 1)
    watch.note(figures(value_loss=1.0, reward_loss=2.0), 2)
    assert watch.first() is None


def test_earliest_update_is_named_though_more_broke_later() -> None:
    watch = Watch()
    watch.note(figures(total_loss=1.0, reward_loss=1.0, value_loss=1.0), 1)
    watch.note(figures(total_loss=1.0, reward_loss=1.0, value_loss=math.inf), 2)
    watch.note(figures(total_loss=math.nan, reward_loss=math.nan, value_loss=math.nan), 3)
    watch.note(figures(total_loss=1.0, reward_loss=1.0, value_loss=1.0), 4)
    assert watch.first() == ("value_loss", 2)


def test_causes_are_named_before_their_effects() -> None:
    watch = Watch()
    watch.note(figures(strange=math.nan, total_loss=math.nan, reward_loss=-math.inf), 7)
    assert watch.first() == ("reward_loss", 7)
