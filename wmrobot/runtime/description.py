"""What a bundle says of its planner (`planner.json`), read and checked.

Only what the runtime acts on is read into these classes; the rest (versions, evaluation, gains) is
for people and stays in `Description.document`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wmrobot.runtime.arrays import FloatArray
from wmrobot.runtime.errors import BundleError
from wmrobot.runtime.fields import Fields, parse_json

FILE = "planner.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class SensorTerm:
    """One number that the robot measures.

    Attributes:
        name: As the task calls it.
        unit: Physical unit; None where the task does not tell.
        scale: Multiplies the measured number.
        offset: Is added after that.
        clip: What the result is limited to, low and high; None leaves it as it is.
    """

    name: str
    unit: str | None
    scale: float
    offset: float
    clip: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class StateDescription:
    """How `state` is made of what the robot measures.

    Attributes:
        terms: R sensor terms, in order.
        history: Newest measurements stacked, newest last.
        previous_actions: Newest actions appended after them, newest last.
        dim: O, length of `state`.
    """

    terms: tuple[SensorTerm, ...]
    history: int
    previous_actions: int
    dim: int


@dataclass(frozen=True, kw_only=True)
class PictureDescription:
    """What `rgb` is.

    Attributes:
        shape: (C, height, width) of the newest frame, uint8; 3 channels a camera.
        frame_stack: Frames that the graph sees.
        cameras: Name of each camera, in order of the channels.
    """

    shape: tuple[int, ...]
    frame_stack: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ActionTerm:
    """What one entry of an action means to its actuator: `offset + scale * action`.

    Attributes:
        name: Actuator.
        unit: Of its command; None where the task does not tell.
        scale: Half of its range.
        offset: Middle of its range.
        limits: Its range, low and high.
    """

    name: str
    unit: str | None
    scale: float
    offset: float
    limits: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SearchSizes:
    """Sizes of the search; see `runtime/arrays.py` for the letters.

    Attributes:
        horizon: H.
        iterations: I.
        num_samples: N.
        num_elites: K.
        num_prior: P.
        num_kept: E.
        num_q: Value heads, two of which each iteration averages.
        latent_dim: Z.
        noise_beta: Exponent of the noise's power spectrum along the horizon; 0 is white.
        max_std: Spread that the search starts with.
    """

    horizon: int
    iterations: int
    num_samples: int
    num_elites: int
    num_prior: int
    num_kept: int
    num_q: int
    latent_dim: int
    noise_beta: float
    max_std: float


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a planner was made for.

    Attributes:
        task: Name of the task.
        batch: B that the graphs are made for; None for any.
        precision: Of the graphs' weights.
        control_dt: Time between two decisions [s].
        state: Where the planner sees `state`.
        pictures: Where it sees `rgb`.
        actions: One term an entry of the action, in order.
        joints: Names of the robot's joints, in the order of its model.
        search: Sizes of the planner.
        document: All of `planner.json`.
    """

    task: str
    batch: int | None
    precision: str
    control_dt: float
    state: StateDescription | None
    pictures: PictureDescription | None
    actions: tuple[ActionTerm, ...]
    joints: tuple[str, ...]
    search: SearchSizes
    document: Mapping[str, Any]

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.actions)

    @property
    def obs_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one observation by modality, of one frame for pictures."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.state is not None:
            shapes["state"] = (self.state.dim,)
        if self.pictures is not None:
            shapes["rgb"] = self.pictures.shape
        return shapes

    def to_actuators(self, action: FloatArray) -> npt.NDArray[np.float64]:
        """Actions (..., A) in [-1, 1] in the actuators' own units."""
        scale = np.array([term.scale for term in self.actions])
        offset = np.array([term.offset for term in self.actions])
        clipped = np.clip(action.astype(np.float64), -1.0, 1.0)
        result: npt.NDArray[np.float64] = offset + scale * clipped
        return result

    def check_robot(
        self, joints: Iterable[str] | None = None, control_dt: float | None = None
    ) -> None:
        """Refuse a robot that the planner was not made for.

        Args:
            joints: Names of the robot's joints, in the order of its driver.
            control_dt: Time between two of its decisions [s].

        Raises:
            BundleError: They differ from the bundle's.
        """
        if joints is not None and tuple(joints) != self.joints:
            raise BundleError(
                f"joints: the planner was made for {list(self.joints)}, got {list(joints)}; "
                "bring the robot's joints into that order, or export for this robot"
            )
        if control_dt is not None and not abs(control_dt - self.control_dt) <= 1e-6:
            raise BundleError(
                f"control_dt: the planner was made for {self.control_dt:g} s between decisions, "
                f"got {control_dt:g} s; run the robot at that rate, or export for this one"
            )


def read_description(data: bytes, where: str = FILE) -> Description:
    """Parse and check `planner.json`.

    Raises:
        BundleError: Not of this format, of a newer schema, or inconsistent.
    """
    root = Fields(parse_json(data, where), where)
    root.choice("kind", ["planner"])
    schema = root.whole("schema", 1)
    if schema > SCHEMA:
        raise BundleError(
            f"{where}: schema {schema} is newer than this wmrobot reads ({SCHEMA}); update wmrobot"
        )
    obs = root.group("obs")
    actions = tuple(map(_action_term, root.group("action").groups("terms")))
    joints = tuple(joint.text("name") for joint in root.groups("joints"))
    _once("joints", joints, where)
    _once("action terms", (term.name for term in actions), where)
    if not actions or obs.value.keys() - {"state", "rgb"} or not obs.value:
        raise BundleError(
            f"{where}: expected actions, and observations of state, rgb or both, "
            f"got {len(actions)} and {sorted(obs.value)}"
        )
    _check_delay(root.group("trained"))
    return Description(
        task=root.text("task"),
        batch=root.whole("batch", 1) if root.has("batch") else None,
        precision=root.text("precision"),
        control_dt=root.positive("control_dt"),
        state=_state(obs.group("state"), len(actions)) if "state" in obs.value else None,
        pictures=_pictures(obs.group("rgb")) if "rgb" in obs.value else None,
        actions=actions,
        joints=joints,
        search=_search(root.group("planner"), root.group("model")),
        document=root.value,
    )


def _state(fields: Fields, action_dim: int) -> StateDescription:
    terms = tuple(map(_sensor_term, fields.groups("terms")))
    _once("sensor terms", (term.name for term in terms), fields.where)
    history = fields.whole("history", 1)
    previous = fields.whole("previous_actions", 0)
    fields.choice("dtype", ["float32"])
    shape = fields.shape("shape")
    if shape != (expected := (history * len(terms) + previous * action_dim,)):
        raise fields.wrong("shape", f"{list(expected)} (terms, history, actions)", list(shape))
    return StateDescription(
        terms=terms, history=history, previous_actions=previous, dim=expected[0]
    )


def _pictures(fields: Fields) -> PictureDescription:
    fields.choice("dtype", ["uint8"])
    fields.choice("layout", ["CHW"])
    cameras = fields.groups("cameras")
    shape = fields.shape("shape")
    if len(shape) != 3 or shape[0] != 3 * len(cameras):
        raise fields.wrong("shape", "[3 a camera, height, width]", list(shape))
    return PictureDescription(
        shape=shape,
        frame_stack=fields.whole("frame_stack", 1),
        cameras=tuple(camera.text("name") for camera in cameras),
    )


def _sensor_term(fields: Fields) -> SensorTerm:
    if (scale := fields.number("scale")) == 0:
        raise fields.wrong("scale", "a number other than 0", scale)
    return SensorTerm(
        name=fields.text("name"),
        unit=fields.text("unit") if fields.has("unit") else None,
        scale=scale,
        offset=fields.number("offset"),
        clip=fields.interval("clip") if fields.has("clip") else None,
    )


def _action_term(fields: Fields) -> ActionTerm:
    scale, offset = fields.positive("scale"), fields.number("offset")
    low, high = fields.interval("limits")
    room = 1e-6 * max(abs(low), abs(high), scale)
    if abs(offset - scale - low) > room or abs(offset + scale - high) > room:
        expected = f"offset -+ scale = [{offset - scale:g}, {offset + scale:g}]"
        raise fields.wrong("limits", expected, [low, high])
    return ActionTerm(
        name=fields.text("name"),
        unit=fields.text("unit") if fields.has("unit") else None,
        scale=scale,
        offset=offset,
        limits=(low, high),
    )


def _search(planner: Fields, model: Fields) -> SearchSizes:
    sizes = SearchSizes(
        horizon=planner.whole("horizon", 1),
        iterations=planner.whole("iterations", 1),
        num_samples=planner.whole("num_samples", 1),
        num_elites=planner.whole("num_elites", 1),
        num_prior=planner.whole("num_prior", 0),
        num_kept=planner.whole("num_kept", 0),
        num_q=model.whole("num_q", 2),
        latent_dim=model.whole("latent_dim", 1),
        noise_beta=planner.number("noise_beta"),
        max_std=planner.positive("max_std"),
    )
    drawn = sizes.num_samples - sizes.num_prior
    if not sizes.num_elites <= sizes.num_samples or not sizes.num_kept < drawn:
        raise planner.wrong(
            "num_samples", "at least num_elites, and more than num_prior + num_kept",
            sizes.num_samples,
        )  # fmt: skip
    if sizes.num_kept > sizes.num_elites or sizes.noise_beta < 0:
        raise planner.wrong("num_kept", "at most num_elites, noise_beta >= 0", sizes.num_kept)
    return sizes


def _check_delay(trained: Fields) -> None:
    delay = trained.value.get("action_delay")
    is_pair = isinstance(delay, list) and [type(each) for each in delay] == [int, int]
    if not isinstance(delay, list) or not is_pair or not 0 <= delay[0] <= delay[1]:
        raise trained.wrong("action_delay", "[low, high] in decisions, 0 <= low <= high", delay)


def _once(what: str, names: Iterable[str], where: str) -> None:
    listed = list(names)
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise BundleError(f"{where}: {what}: expected each name once, got '{twice[0]}' twice")
