"""Where a run is, and what a progress bar shows of it."""

import math
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Counters:
    """Where a run is.

    Attributes:
        decisions: Decisions taken, over all environments (offline: updates begun).
        settled: Decisions whose updates, evaluation and row of train.csv are done too. Less than
            `decisions` only in a checkpoint of a run that was stopped between them.
        updates: Gradient updates made.
        episodes: Episodes finished.
        owed: Updates that are still owed; a part of one for fractional `updates_per_decision`.
    """

    decisions: int = 0
    settled: int = 0
    updates: int = 0
    episodes: int = 0
    owed: float = 0.0


@dataclass(kw_only=True)
class Progress:
    """What a progress bar shows. The seconds are the host's, each of them counted once.

    On a GPU learning is handing the updates over, and waiting for them; what it learns while the
    host simulates costs no time, and is not counted.

    Attributes:
        counters: Where the run is.
        last_return: Mean return of the newest finished episode or evaluation.
        collect_s: Seconds spent planning and simulating.
        update_s: Seconds spent learning.
        evaluate_s: Seconds spent evaluating and saving.
    """

    counters: Counters = field(default_factory=Counters)
    last_return: float = math.nan
    collect_s: float = 0.0
    update_s: float = 0.0
    evaluate_s: float = 0.0
