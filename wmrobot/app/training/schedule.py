"""When a run does what: functions of its settings and of how many decisions were taken."""

from wmrobot.app.training.progress import Counters
from wmrobot.app.training.settings import TrainConfig


def is_due(freq: int, before: int, after: int, steps: int) -> bool:
    """Whether a multiple of `freq`, or the end at `steps`, lies in (before, after].

    Args:
        freq: Decisions between two times; 0 for the end only.
        before: Decisions taken before the newest.
        after: Decisions taken.
        steps: Decisions of the whole run.
    """
    return after >= steps or (freq > 0 and after // freq > before // freq)


def updates_due(cfg: TrainConfig, before: int, after: int) -> float:
    """Updates after the newest decisions: none among the random ones, many when they end.

    Args:
        cfg: Settings of the run.
        before: Decisions taken before the newest.
        after: Decisions taken.
    """
    if after < cfg.seed_steps:
        return 0
    if before < max(cfg.seed_steps, 1):
        return cfg.seed_steps if cfg.pretrain_updates is None else cfg.pretrain_updates
    return (after - before) * cfg.updates_per_decision


def doing(cfg: TrainConfig, counters: Counters) -> str:
    """What a run is at between two evaluations, in words."""
    decisions, updates = counters.decisions, counters.updates
    if cfg.offline:
        return f"learning {updates:,}/{cfg.steps:,}"
    if decisions < cfg.seed_steps:
        return f"random decisions {decisions:,}/{cfg.seed_steps:,}"
    if counters.settled < max(cfg.seed_steps, 1) and counters.owed >= 1:
        return f"pretraining {updates:,}/{updates + int(counters.owed):,}"
    return f"driving and learning {decisions:,}/{cfg.steps:,}"
