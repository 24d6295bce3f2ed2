"""When a run does what."""

import pytest

from tests.runs import tiny
from wmrobot.app.training.progress import Counters
from wmrobot.app.training.schedule import doing, is_due, updates_due


@pytest.mark.parametrize(
    ("freq", "before", "after", "expected"),
    [
        (10, 9, 10, True),
        (10, 10, 11, False),
        (10, 8, 12, True),  # several environments step over the multiple
        (10, 8, 31, True),  # and over several of them: once
        (0, 9, 10, False),
        (0, 98, 100, True),  # the end
        (7, 98, 101, True),
    ],
)
def test_what_is_due_is_due_once_every_freq_and_at_the_end(
    freq: int, before: int, after: int, expected: bool
) -> None:
    assert is_due(freq, before, after, steps=100) is expected


@pytest.mark.parametrize(
    ("pretrain", "before", "after", "expected"),
    [
        (None, 8, 9, 0),
        (None, 9, 10, 10),
        (None, 9, 12, 10),
        (3, 9, 10, 3),
        (0, 9, 10, 0),
        (3, 10, 11, 0.5),
        (3, 12, 16, 2.0),
    ],
)
def test_updates_follow_the_random_decisions(
    pretrain: int | None, before: int, after: int, expected: float
) -> None:
    cfg = tiny(seed_steps=10, updates_per_decision=0.5, pretrain_updates=pretrain)
    assert updates_due(cfg, before, after) == expected


@pytest.mark.parametrize(
    ("decisions", "settled", "updates", "owed", "words"),
    [
        (300, 299, 0, 0.0, "random decisions 300/2,000"),
        (2_000, 1_999, 1_200, 18_800.0, "pretraining 1,200/20,000"),
        (2_000, 2_000, 20_000, 0.5, "driving and learning 2,000/5,000"),
        (2_001, 2_000, 20_000, 1.0, "driving and learning 2,001/5,000"),
    ],
)
def test_what_a_run_is_at_is_told(
    decisions: int, settled: int, updates: int, owed: float, words: str
) -> None:
    at = Counters(decisions=decisions, settled=settled, updates=updates, owed=owed)
    assert doing(tiny(steps=5_000, seed_steps=2_000), at) == words
