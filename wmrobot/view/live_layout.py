"""What the window of a driven robot shows and lets one change."""

from collections.abc import Mapping, Sequence
from typing import Any

from wmrobot.plan.config import MppiConfig, PlannerConfig
from wmrobot.view.controls import Control, Value, scene_controls
from wmrobot.view.layout import Chart

AGENTS = ("trained", "prior", "zero", "shuffled")
DIRECTIONS: Mapping[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0),
    "+z": (0, 0, 1), "-z": (0, 0, -1),
}  # fmt: skip
NOTHING = "(the robot, live)"
MOST_SEED = 9_999
SHORTEST = 0.01  # [s] that the position spans: before a recording is chosen, and at least
LIVE: Mapping[str, tuple[Value, ...]] = {"recording": (NOTHING,)}
"""Controls of the robot do nothing that is seen while a recording is played."""
PLANS: Mapping[str, tuple[Value, ...]] = {"agent": ("trained", "shuffled")}
"""Who heeds the planner's settings."""
CHARTS = (
    Chart(title="reward of a decision", series=("reward", "imagined reward")),
    Chart(title="return from here on", series=("expected return", "earned return")),
    Chart(title="planning [ms]", series=("planning", "deadline")),
)


def drive_controls(seed: int, *, follow: bool) -> tuple[Control, ...]:
    """Pause, step, reset, and how the page looks; `follow` where the robot travels."""

    def make(name: str, label: str, kind: Any, hint: str, **more: Any) -> Control:
        return Control(name=name, label=label, kind=kind, group="Drive", hint=hint, **more)

    return (
        make(
            "pause", "Pause", "toggle", "Let the robot rest",
            default=False, kept=False, only_with=LIVE,
        ),
        make("step", "One decision", "button", "Take one decision, then pause", only_with=LIVE),
        make("reset", "New episode", "button", "Start the next episode of this seed",
             only_with=LIVE),
        make(
            "seed", "Seed", "slider", "Start anew from this seed",
            unit="-", default=seed, low=0, high=max(MOST_SEED, seed), only_with=LIVE,
        ),
        make(
            "speed", "Speed", "slider", "Slower than true speed",
            unit="x true speed", default=1.0, low=0.05, high=1.0, step=0.05,
        ),
        *scene_controls("Drive", follow=follow),
        make("ghost", "Ghost", "toggle", "Where the plan expects the robot to be", default=True,
             only_with=LIVE),
        make("paths", "Paths", "toggle", "Imagined paths of the robot's ends", default=True,
             only_with=LIVE),
        make(
            "ahead", "Look ahead", "slider",
            "Decisions to imagine; after the planner's horizon the prior goes on",
            unit="decisions", default=10, low=1, high=40, only_with=LIVE,
        ),
    )  # fmt: skip


def planner_controls(base: PlannerConfig, agent: str) -> tuple[Control, ...]:
    """Who drives, and the search's settings; the defaults are what it was trained with."""

    def make(name: str, label: str, hint: str, **more: Any) -> Control:
        return Control(name=name, label=label, group="Planner", hint=hint, **more)

    mppi = base if isinstance(base, MppiConfig) else MppiConfig()
    return (
        make("agent", "Agent", "Who drives", kind="choice", default=agent, choices=AGENTS),
        make(
            "planner", "Planner", "How candidates are weighed and kept", kind="choice",
            default=base.kind, choices=("mppi", "cem", "icem"), only_with=PLANS,
        ),
        make(
            "horizon", "Horizon", "Decisions that a candidate lasts", kind="slider",
            unit="decisions", default=base.horizon, low=1, high=max(16, base.horizon),
            only_with=PLANS,
        ),
        make(
            "samples", "Samples", "Candidates a round", kind="slider",
            unit="-", default=base.num_samples, low=8, high=max(1024, base.num_samples), step=4,
            only_with=PLANS,
        ),
        make(
            "iterations", "Iterations", "Rounds of refinement", kind="slider",
            unit="rounds", default=base.iterations, low=1, high=max(12, base.iterations),
            only_with=PLANS,
        ),
        make(
            "inverse_temperature", "Inverse temperature", "Of MPPI: multiplies the returns",
            kind="slider", unit="1/return", default=float(mppi.inverse_temperature),
            low=0.05, high=max(10.0, mppi.inverse_temperature), step=0.05,
            only_with={**PLANS, "planner": ("mppi",)},
        ),
    )  # fmt: skip


def world_controls(bodies: Sequence[str], weight: float) -> tuple[Control, ...]:
    """What differs between this robot and the one that was learned.

    Args:
        bodies: Names of the bodies that can be pushed; empty without MuJoCo physics.
        weight: Of the robot [N], to choose a push by.
    """

    def make(name: str, label: str, hint: str, **more: Any) -> Control:
        return Control(name=name, label=label, group="World", hint=hint, **more)

    always = (
        make(
            "delay", "Action delay", "Decisions that an action waits before it acts",
            kind="slider", unit="decisions", default=0, low=0, high=10,
        ),
        make(
            "noise", "Sensor noise", "Standard deviation of white noise on the state",
            kind="slider", unit="state's own", default=0.0, low=0.0, high=0.5, step=0.005,
        ),
    )  # fmt: skip
    if not bodies:
        return always
    factor = {"kind": "slider", "unit": "x nominal", "default": 1.0, "step": 0.05}
    return (
        make("body", "Push at", "Body to push", kind="choice", default=bodies[0],
             choices=tuple(bodies)),
        make("direction", "Towards", "Direction of the push", kind="choice", default="+x",
             choices=tuple(DIRECTIONS)),
        make("newtons", "Force", "Of a push; drag a body with ctrl held to pull at it",
             kind="slider", unit="N", default=_nice(weight), low=0.0, high=_nice(10 * weight),
             step=_nice(weight / 20)),
        make("push_s", "For", "How long a push lasts", kind="slider", unit="s", default=0.2,
             low=0.02, high=2.0, step=0.02),
        make("push", "Push", "Push once", kind="button", only_with=LIVE),
        *always,
        make("mass", "Mass", "Masses and inertias", low=0.2, high=3.0, **factor),
        make("friction", "Friction and damping", "Of ground and joints", low=0.0, high=5.0,
             **factor),
    )  # fmt: skip


def record_controls(names: Sequence[str], *, is_run: bool, has_scene: bool) -> tuple[Control, ...]:
    """Recordings and checkpoints.

    Args:
        names: Recordings that there are.
        is_run: Whether newer checkpoints may come.
        has_scene: Whether there is anything to film.
    """

    def make(name: str, label: str, hint: str, **more: Any) -> Control:
        return Control(name=name, label=label, group="Record", hint=hint, kept=False, **more)

    checkpoint = (
        make(
            "newest", "Take newer checkpoints", "Go on with each checkpoint that the run saves",
            kind="toggle", default=True,
        ),
    )  # fmt: skip
    recording = (
        make("record", "Record", "Keep what is driven from now on", kind="toggle", default=False),
        make("film", "Film the newest (MP4)", "Draw the newest recording", kind="button"),
        make("recording", "Play back", "A recording instead of the robot", kind="choice",
             default=NOTHING, choices=(NOTHING, *names)),
        make("position", "Position", "Where in the recording", kind="slider", unit="s",
             default=0.0, low=0.0, high=SHORTEST, step=0.01, not_with=LIVE),
        make("play", "Play", "Let it run", kind="toggle", default=True, not_with=LIVE),
    )  # fmt: skip
    return (*(checkpoint if is_run else ()), *(recording if has_scene else ()))


def _nice(number: float) -> float:
    """A number near it with one digit: for a slider."""
    if number <= 0:
        return 1.0
    digits = f"{number:.0e}"
    return float(digits)
