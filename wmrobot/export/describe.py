"""The document of a bundle, `planner.json`: all that a robot's programmer must know."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wmrobot.core.config import to_plain
from wmrobot.core.spec import TaskSpec
from wmrobot.envs.registry import make_env, task_info
from wmrobot.export.facts import Facts, Precision
from wmrobot.export.robot import (
    actuator_unit,
    describe_cameras,
    describe_joints,
    joint_of,
    model_sha256,
)
from wmrobot.plan.config import IcemConfig
from wmrobot.plan.planner import make_rules
from wmrobot.runtime.bundle.document import SCHEMA, read_description
from wmrobot.runtime.bundle.folder import to_document
from wmrobot.runtime.bundle.signatures import signatures

HEAD_PAIRS = "each iteration averages two of the value heads, drawn at random"
ALL_HEADS = "; values on the way average all of them"
SPREAD = "weighted standard deviation of the elites' estimated returns"


class Robot(NamedTuple):
    """What the task's environment told when it was built once for this.

    Attributes:
        bounds: What -1 and 1 mean to each actuator (`TaskSpec.action_bounds`).
        units: Of each actuator's command.
        driven: Name of the joint that each actuator drives, None where it is not one joint.
        joints: See `describe_joints`.
        cameras: See `describe_cameras`.
        sim_dt: Time step of the physics [s].
        mjcf_sha256: Of the compiled model.
    """

    bounds: tuple[tuple[float, ...], ...]
    units: tuple[str | None, ...]
    driven: tuple[str | None, ...]
    joints: list[dict[str, Any]]
    cameras: list[dict[str, Any]]
    sim_dt: float | None
    mjcf_sha256: str | None


def look_at_robot(facts: Facts) -> Robot:
    """Build the task once and ask it; what has no MuJoCo model tells little."""
    env = make_env(facts.task.name, seed=0, **facts.options)
    try:
        bounds, physics = env.task_spec.action_bounds, env.physics
        model = None if physics is None else physics.model.ptr
        cameras: list[dict[str, Any]] = []
        if "rgb" in facts.task.obs_shapes:
            _, height, width = facts.task.obs_shapes["rgb"]
            seen = facts.options.get("cameras") or task_info(facts.task.name).cameras
            cameras = describe_cameras(model, seen, (height, width))
        nothing: tuple[str | None, ...] = (None,) * facts.task.action_dim
        if model is None:
            return Robot(bounds, nothing, nothing, [], cameras, None, None)
        units, driven = nothing, nothing
        if model.nu == facts.task.action_dim:  # else an action is no list of the actuators
            indices = [joint_of(model, actuator) for actuator in range(model.nu)]
            units = tuple(actuator_unit(model, actuator) for actuator in range(model.nu))
            driven = tuple(
                None if index is None else model.joint(index).name or f"joint{index}"
                for index in indices
            )
        return Robot(
            bounds=bounds,
            units=units,
            driven=driven,
            joints=describe_joints(model),
            cameras=cameras,
            sim_dt=float(model.opt.timestep),
            mjcf_sha256=model_sha256(model),
        )
    finally:
        env.close()


def describe(
    facts: Facts, robot: Robot, *, batch: int | None, precision: Precision
) -> dict[str, Any]:
    """All of `planner.json` but what is measured on the finished bundle.

    Args:
        facts: Trained controller.
        robot: What its task tells.
        batch: B of the graphs; None for any.
        precision: Of the graphs' weights.
    """
    cfg, task = facts.planner, facts.task
    random = facts.randomization
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "planner",
        "task": task.name,
        "batch": batch,
        "precision": precision,
        "control_dt": task.control_dt,
        "sim_dt": robot.sim_dt,
        "action_repeat": task.action_repeat,
        "episode_decisions": task.episode_decisions,
        "obs": _observations(facts, robot),
        "action": {
            "shape": [task.action_dim],
            "dtype": "float32",
            "range": [-1.0, 1.0],
            "terms": _actions(task, robot),
        },
        "joints": robot.joints,
        "trained": {
            "action_delay": list(random.action_delay),
            "obs_noise_std": random.obs_noise_std,
            "obs_history": random.obs_history,
            "previous_actions": random.previous_actions,
            "parameters": [to_plain(each) for each in random.parameters],
        },
        "planner": {
            **to_plain(cfg),
            "num_kept": make_rules(cfg).num_kept,
            "noise_beta": cfg.noise_beta if isinstance(cfg, IcemConfig) else 0.0,
            "head_pairs": HEAD_PAIRS + (ALL_HEADS if cfg.value_lambda < 1 else ""),
            "spread": SPREAD,
        },
        "model": {
            **to_plain(facts.model.cfg),
            "discount": facts.model.discount,
            "episodic": facts.model.episodic,
        },
        "weights_sha256": facts.weights_sha256,
        "mjcf_sha256": robot.mjcf_sha256,
        "made": dict(facts.made),
        "exported": dict(facts.exported),
        "evaluations": [dict(each) for each in facts.evaluations],
    }
    document["graphs"] = {}
    document["graphs"] = to_document(signatures(read_description(encode_json(document))))
    return document


def encode_json(document: Mapping[str, Any]) -> bytes:
    """A document as it stands in a bundle."""
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def policy_metadata(document: Mapping[str, Any], robot: Robot, name: str) -> dict[str, str]:
    """The keys that mjlab writes into its policies, for deployers that read them.

    Joints are told where every action drives a joint of its own, and are empty otherwise. Lists are
    joined by commas, so a comma within a name becomes a semicolon.

    Args:
        document: `planner.json`.
        robot: What the task tells.
        name: Stands for mjlab's `run_path`.
    """
    by_name = {joint["name"]: joint for joint in robot.joints}
    driven = [by_name[joint] for joint in robot.driven if joint in by_name]
    if len(driven) != len(robot.driven) or len({j["name"] for j in driven}) != len(driven):
        driven = []
    state = document["obs"].get("state", {"names": []})
    lists: dict[str, Sequence[object]] = {
        "joint_names": [joint["name"] for joint in driven],
        "joint_stiffness": [joint["stiffness"] for joint in driven],
        "joint_damping": [joint["damping"] for joint in driven],
        "default_joint_pos": [joint["default_position"] for joint in driven],
        "command_names": [],
        "observation_names": state["names"],
        "action_scale": [term["scale"] for term in document["action"]["terms"]],
        "action_offset": [term["offset"] for term in document["action"]["terms"]],
    }
    return {"run_path": name, **{key: _csv(values) for key, values in lists.items()}}


def _observations(facts: Facts, robot: Robot) -> dict[str, Any]:
    found: dict[str, Any] = {}
    shapes = facts.task.obs_shapes
    if "state" in shapes:
        history, previous = facts.randomization.obs_history, facts.randomization.previous_actions
        (dim,) = shapes["state"]
        size = (dim - previous * facts.task.action_dim) // history
        names = facts.task.obs_names or tuple(f"state[{index}]" for index in range(dim))
        found["state"] = {
            "shape": [dim],
            "dtype": "float32",
            "names": list(names),
            "history": history,
            "previous_actions": previous,
            # of the newest measurement, whose names tell no age
            "terms": [
                {
                    "name": name, "unit": None, "shape": [], "dtype": "float32",
                    "scale": 1.0, "offset": 0.0, "clip": None,
                }
                for name in names[(history - 1) * size : history * size]
            ],
        }  # fmt: skip
    if "rgb" in shapes:
        found["rgb"] = {
            "shape": list(shapes["rgb"]),
            "dtype": "uint8",
            "layout": "CHW",
            "frame_stack": facts.model.cfg.frame_stack,
            "render": facts.options.get("render", "near"),
            "cameras": robot.cameras,
        }
    return found


def _actions(task: TaskSpec, robot: Robot) -> list[dict[str, Any]]:
    names = task.action_names or tuple(f"action{index}" for index in range(task.action_dim))
    low, high = robot.bounds
    return [
        {
            "name": name or f"action{i}",
            "unit": robot.units[i],
            "scale": (high[i] - low[i]) / 2,
            "offset": (high[i] + low[i]) / 2,
            "limits": [low[i], high[i]],
            "joint": robot.driven[i],
        }
        for i, name in enumerate(names)
    ]


def _csv(values: Sequence[object]) -> str:
    return ",".join(
        value.replace(",", ";") if isinstance(value, str) else f"{value:.9g}" for value in values
    )
