"""How fast a run learned: what it did a second, and minutes until shares of a published return."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.sweeping.anchors import default_folder, read_anchors
from wmrobot.app.training.result import Result
from wmrobot.app.training.stopwatch import read_times
from wmrobot.core.spec import ObsMode

PERCENTS = (50, 90)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """See the module's text.

    Attributes:
        minutes: Training until the newest checkpoint, evaluations included [min].
        decisions_per_s: Over all of it, and all environments; 0 where it learned offline.
        updates_per_s: Over all of it.
        reference: TD-MPC2's mean return; None where none is published.
        reference_step: Where it had that: the first published environment step at or after the
            run's last evaluation.
        minutes_to: Minutes until an evaluation first had each percentage of it; None where none
            had.
    """

    minutes: float
    decisions_per_s: float
    updates_per_s: float
    reference: float | None = None
    reference_step: int | None = None
    minutes_to: Mapping[int, float | None]

    def figures(self) -> Iterator[tuple[str, str]]:
        """What a page tells, by name."""
        yield from ((name, f"{rate:.1f}") for name, rate in self._rates().items())
        for percent, minutes in self.minutes_to.items():
            text = "not reached" if minutes is None else f"{minutes:.1f}"
            yield f"minutes to {percent}% of TD-MPC2's {self.reference:.0f}", text

    def words(self) -> str:
        """What a terminal tells, in one line."""
        rates = (f"{rate:.1f} {name}" for name, rate in self._rates().items())
        told = ", ".join([f"{self.minutes:.1f} min", *rates])
        if self.reference is None:
            return told
        reached = ", ".join(
            f"{percent}% {'not reached' if minutes is None else f'after {minutes:.1f} min'}"
            for percent, minutes in self.minutes_to.items()
        )
        return (
            f"{told}; of the {self.reference:.0f} that TD-MPC2 had after "
            f"{self.reference_step:,} environment steps: {reached}"
        )

    def _rates(self) -> dict[str, float]:
        """By name; what was not done is left out."""
        rates = {"decisions/s": self.decisions_per_s, "updates/s": self.updates_per_s}
        return {name: rate for name, rate in rates.items() if rate}

    def plain(self) -> dict[str, Any]:
        """For `summary.json`."""
        told = {name: _rounded(value) for name, value in asdict(self).items()}
        return told | {"minutes_to": {str(p): _rounded(m) for p, m in self.minutes_to.items()}}


def read_pace(
    run: Path, result: Result, *, task: str, obs: ObsMode, decisions: int, updates: int
) -> Pace | None:
    """From a run's own logs; None where they tell no times.

    Args:
        run: Its folder.
        result: What `read_result` tells of it.
        task: Canonical name.
        obs: What the robot sees.
        decisions: Taken until the newest checkpoint; later evaluations are not counted.
        updates: Made until then.
    """
    times = [row for row in read_times(run) if int(row["decisions"]) <= decisions]
    if not times or not (seconds := float(times[-1]["wall_clock_s"])):
        return None
    folder = default_folder()
    published = None if folder is None else read_anchors(folder).reference(obs, task)
    step, reference = None, None
    if published is not None and len(result.steps) and not result.offline:
        step, reference = published.mean_at(result.steps[-1])
    return Pace(
        minutes=seconds / 60,
        decisions_per_s=0.0 if result.offline else decisions / seconds,
        updates_per_s=updates / seconds,
        reference=reference,
        reference_step=step,
        minutes_to={} if reference is None else _minutes_to(result, reference),
    )


def _minutes_to(result: Result, reference: float) -> dict[int, float | None]:
    """Minutes until each percentage of a return; None where it was not reached, or not timed."""
    found: dict[int, float | None] = {}
    for percent in PERCENTS:
        there = np.flatnonzero(result.rewards >= percent / 100 * reference)
        minutes = float(result.wall_clock_s[there[0]]) / 60 if len(there) else np.nan
        found[percent] = None if np.isnan(minutes) else minutes
    return found


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
