"""What is said of a run whose losses or weights are no longer numbers."""

from pathlib import Path

from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.training.checkpoint import describe_kept
from wmrobot.core.errors import TrainingError
from wmrobot.learn.watch import Watch


def refusal(run: Path, watch: Watch, *, updates: int, lr: float) -> TrainingError:
    """Why the run cannot go on, what broke first, and how to begin another.

    Args:
        run: Its folder.
        watch: What has looked at its updates.
        updates: How many there were.
        lr: Its learning rate.
    """
    broken = watch.first()
    which = f"; {broken[0]} was the first to break, in update {broken[1]}" if broken else ""
    start = f"with init={run} and" if checkpoint_folders(run) else "with"
    return TrainingError(
        f"losses or weights are not finite after {updates} updates{which}. {describe_kept(run)}; "
        f"start a new run {start} a learner.lr below {lr}"
    )
