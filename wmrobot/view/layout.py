"""What a window has to show, told once when it opens; then messages bring the numbers.

A message is what `packet` carries. Every part is optional; a window shows what it gets:

| name | what it is |
|---|---|
| `tick`, `time` | decisions of this episode, and their time [s] |
| `scene` | number of the model file that `qpos` belongs to |
| `qpos` | (nq,) joint positions; `mocap_pos` (M, 3), `mocap_quat` (M, 4) |
| `series` | newest value of each curve by its name |
| `curve_names`, `curve_rows` | C names, and (K, 1 + C) times and values: K points at once |
| `action`, `plan_mean`, `plan_std` | (A,) or (K, A) executed, (H, A) planned, (H, A) its spread |
| `plan_gap` | decisions between what was executed and the first planned; 0 if not told |
| `stages_ms`, `deadline_ms` | time of each stage of planning, and what there was of it |
| `imagined_qpos` | (E, L + 1, nq) decoded imagination, the mean first |
| `imagined_qvel` | (E, L + 1, nv) its velocities |
| `imagined_start`, `imagined_from` | (nq,) and the decision that it starts from |
| `imagined_horizon` | how many of its steps were searched |
| `imagined_seen` | (nq,) bool, what the decoder can tell |
| `camera` | (height, width, 3) uint8, what the encoder sees |
| `values`, `choices` | present value of every control; words that one offers by its name |
| `highs` | largest number of a slider by its name |
| `ladder`, `guard` | state of the miss ladder and of the guard, where a deadline loop drives |
| `rungs` | rung of every tick since the last message, oldest first |
| `facts` | lines of text by name |
| `say` | a line for the log |
| `episode` | name of a recording beside the model files, to be shown again and again |
| `cut` | true where an episode starts: curves begin anew |
| `anew` | true where another one decides: what was planned, imagined and told is over |
"""

from dataclasses import dataclass

from wmrobot.view.controls import Control

STAGES = ("encode", "prior", "search", "transport")
SELDOM = 0.2
"""[s] between two looks ahead where planning leaves no time."""
KEPT = 1000
"""Points of a curve that are shown."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One diagram over time.

    Attributes:
        title: What stands above it, unit included.
        series: Name of each curve; a message's `series` tells its newest value.
        x_label: What is counted along the bottom.
        spans: Whether a curve goes on over points without a value; else it has a hole there.
    """

    title: str
    series: tuple[str, ...]
    x_label: str = "time [s]"
    spans: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything about a window that does not change.

    Attributes:
        title: What is driven.
        controls: What a person can change, in order.
        charts: Diagrams over time.
        action_names: Name of each actuator.
        control_dt: Time between two decisions [s].
        frame_dt: Time between two states of the robot [s]; 0 where they come with decisions.
        stages: Of planning, in the order of the bar.
        discount: Weight of the next decision's value.
        has_scene: Whether there is a MuJoCo scene; else there are curves only.
        has_camera: Whether the encoder sees pictures.
        follows: Whether the robot travels, so that the scene moves with it.
        notes: What is said about the window, for instance why there is no scene.
    """

    title: str
    controls: tuple[Control, ...] = ()
    charts: tuple[Chart, ...] = ()
    action_names: tuple[str, ...] = ()
    control_dt: float = 0.05
    frame_dt: float = 0.0
    stages: tuple[str, ...] = STAGES
    discount: float = 0.99
    has_scene: bool = True
    has_camera: bool = False
    follows: bool = False
    notes: tuple[str, ...] = ()
