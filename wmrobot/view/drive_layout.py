"""What the window of a drive with deadlines shows and lets one change, live or recorded."""

from collections.abc import Mapping

from wmrobot.view.controls import Control, scene_controls
from wmrobot.view.hindsight import EARNED
from wmrobot.view.layout import Chart, Layout

CHARTS = (
    Chart(title="reward of a decision", series=("reward",)),
    # not every tick has a plan of its own
    Chart(title="return from here on", series=("expected return", EARNED), spans=True),
    Chart(title="planning [ms]", series=("planning", "deadline")),
)
STAGES = ("encode", "roll forward", "prior", "search", "transport")
NAMES: Mapping[str, str] = {
    "encode": "encode", "step": "roll forward", "propose": "prior", "refine": "search",
    "choose": "search",
}  # fmt: skip
"""The runtime's stages, as the bar calls them; what else is in their total is transport."""


def stages_ms(taken: Mapping[str, float], scale: float = 1.0) -> dict[str, float]:
    """Time of each stage of the bar [ms].

    Args:
        taken: By the runtime's names, `total` among them.
        scale: Milliseconds in one of their units.
    """
    found = dict.fromkeys(STAGES, 0.0)
    for stage, name in NAMES.items():
        found[name] += taken.get(stage, 0.0) * scale
    found["transport"] = max(taken.get("total", 0.0) * scale - sum(found.values()), 0.0)
    return found


def ticks(count: int) -> str:
    """So many ticks, in words."""
    return f"{count} tick" if count == 1 else f"{count} ticks"


def live_controls(*, simulated: bool, follow: bool, drawn: bool) -> tuple[Control, ...]:
    """What can be done to a robot that is being driven: its planner's settings are fixed.

    Args:
        simulated: Whether it may be reset at any time: hardware would move by itself.
        follow: Whether it travels.
        drawn: Whether there is a scene of it.
    """
    episode = Control(
        name="episode", label="New episode", kind="button", group="Drive",
        hint="Break this episode off and begin the next one",
    )  # fmt: skip
    return (
        Control(
            name="stop", label="Stop the robot, end the drive", kind="button", group="Drive",
            hint="Motors to zero, then the report. It is no emergency stop: that is a switch",
        ),
        *((episode,) if simulated else ()),
        *(scene_controls("Drive", follow=follow) if drawn else ()),
    )  # fmt: skip


def playback_controls(
    seconds: float, *, follow: bool, drawn: bool, has_rungs: bool
) -> tuple[Control, ...]:
    """How a recording is looked at.

    Args:
        seconds: How long it is [s].
        follow: Whether the robot travels.
        drawn: Whether there is a scene of it.
        has_rungs: Whether it tells which ticks had a fresh plan.
    """

    def button(name: str, label: str, hint: str) -> Control:
        return Control(name=name, label=label, kind="button", group="Recording", hint=hint)

    miss = button("miss", "Next miss", "Pause at the next tick without a fresh plan")
    return (
        Control(
            name="play", label="Play", kind="toggle", group="Recording", default=True,
            hint="Let it run",
        ),
        Control(
            name="position", label="Position", kind="slider", group="Recording", unit="s",
            default=0.0, low=0.0, high=max(round(seconds, 2), 0.01), step=0.01,
            hint="Where in the recording",
        ),
        Control(
            name="speed", label="Speed", kind="slider", group="Recording", unit="x true speed",
            default=1.0, low=0.05, high=4.0, step=0.05, hint="How fast it runs",
        ),
        button("back", "One decision back", "Pause, and go one decision back"),
        button("on", "One decision on", "Pause, and go one decision on"),
        *((miss,) if has_rungs else ()),
        *(scene_controls("Recording", follow=follow) if drawn else ()),
    )  # fmt: skip


def make_layout(
    title: str,
    control_dt: float,
    controls: tuple[Control, ...],
    *,
    action_names: tuple[str, ...],
    discount: float,
    follows: bool,
    frame_dt: float = 0.0,
) -> Layout:
    """The page of a drive; see `Layout`."""
    return Layout(
        title=title,
        controls=controls,
        charts=CHARTS,
        action_names=action_names,
        control_dt=control_dt,
        stages=STAGES,
        discount=discount,
        follows=follows,
        frame_dt=frame_dt,
    )
