"""Plans of a recorded drive, made again from what was recorded, and compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.planning.anytime import Planning, Start, draw, search
from wmrobot.runtime.planning.planner import Previous, nothing_planned

BOUND = 1e-4


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How recorded plans compare.

    Attributes:
        decisions: In the file.
        plans: Fresh ones among them, made again.
        within: Of those, how many have a mean within 1e-4.
        largest: Largest difference of a mean; None without plans.
    """

    decisions: int
    plans: int
    within: int
    largest: float | None


def replay(stages: Planning, rows: Iterable[Mapping[str, Any]]) -> Replay:
    """Make every recorded plan again, each from its own recorded start, and compare.

    Raises:
        RobotError: The recorded decisions are another robot's.
    """
    decisions, differences = 0, []
    for row in rows:
        decisions += 1
        if row["plan"] is None:
            continue
        start = read_start(row, stages.description)
        noise = draw(stages.description, start.noise_seed)
        plan, _ = search(stages, start, noise, int(row["iterations"]).__gt__)
        expected = np.array(row["plan"], np.float32)
        if expected.shape != plan.mean[0].shape:
            raise RobotError(
                f"plan: expected shape {plan.mean[0].shape}, recorded was {expected.shape}; "
                "replay with the bundle that drove"
            )
        differences.append(float(np.abs(plan.mean[0] - expected).max()))
    return Replay(
        decisions=decisions,
        plans=len(differences),
        within=sum(difference <= BOUND for difference in differences),
        largest=max(differences, default=None),
    )


def read_start(row: Mapping[str, Any], description: Description) -> Start:
    """What a recorded plan was made from.

    Raises:
        RobotError: It has other sizes than the planner.
    """
    assert description.state is not None
    previous = nothing_planned(description, 1)
    fits = len(row["state"]) == description.state.dim
    if row["previous"] is not None:
        mean = np.array(row["previous"], np.float32)[None]
        elites = np.array(row["previous_elites"], np.float32)
        fits = fits and (mean.shape, elites.size) == (previous.mean.shape, previous.elites.size)
        if fits:
            elites = elites.reshape(previous.elites.shape)  # where there are none, no shape is told
            previous = Previous(mean, np.ones(1, np.bool_), elites)
    if not fits:
        raise RobotError(
            f"state: expected {description.state.dim} entries, and of the plan before it "
            f"{previous.mean.shape[1:]} actions and {previous.elites.shape[1]} elites, recorded "
            "were others; replay with the bundle that drove"
        )
    return Start(
        state=np.array(row["state"], np.float32)[None],
        committed=np.array(row["committed"], np.float32).reshape(-1, description.action_dim),
        noise_seed=int(row["noise_seed"]),
        previous=previous,
        decisions=int(row["shift"]),
    )
