"""`planner.json`, read and checked."""

from collections.abc import Iterable

from wmrobot.runtime.bundle.description import (
    ActionTerm,
    Description,
    PictureDescription,
    SearchSizes,
    SensorTerm,
    StateDescription,
)
from wmrobot.runtime.bundle.fields import Fields, parse_json
from wmrobot.runtime.errors import BundleError

FILE = "planner.json"
SCHEMA = 1


def read_description(data: bytes) -> Description:
    """Parse and check `planner.json`.

    Raises:
        BundleError: Not of this format, of a newer schema, or inconsistent.
    """
    root = Fields(parse_json(data, FILE), FILE)
    root.choice("kind", ["planner"])
    schema = root.whole("schema", 1)
    if schema > SCHEMA:
        raise BundleError(
            f"{FILE}: schema {schema} is newer than this wmrobot reads ({SCHEMA}); update wmrobot"
        )
    obs = root.group("obs")
    actions = tuple(map(_action_term, root.group("action").groups("terms")))
    joints = tuple(joint.text("name") for joint in root.groups("joints"))
    _once("joints", joints, FILE)
    _once("action terms", (term.name for term in actions), FILE)
    if not actions or obs.value.keys() - {"state", "rgb"} or not obs.value:
        raise BundleError(
            f"{FILE}: expected actions, and observations of state, rgb or both, "
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
