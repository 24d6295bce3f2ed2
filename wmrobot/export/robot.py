"""What a task's MuJoCo model tells about the robot: joints, gains, cameras, its own hash."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from wmrobot.envs.scene import FREE_CAMERA, find_camera

_ROTATION = {mujoco.mjtJoint.mjJNT_HINGE: True, mujoco.mjtJoint.mjJNT_SLIDE: False}
_AT_JOINT = {int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT)}


def describe_joints(model: mujoco.MjModel) -> list[dict[str, Any]]:
    """Every hinge and slide joint in the model's order.

    `stiffness` and `damping` are the gains of the actuator at the joint: what MuJoCo's affine bias
    feeds back from its position and velocity, and 0 for a plain motor.
    """
    found = []
    for joint in range(model.njnt):
        kind = mujoco.mjtJoint(model.jnt_type[joint])
        if kind not in _ROTATION:
            continue
        actuators = [a for a in range(model.nu) if joint_of(model, a) == joint]
        stiffness, damping = _gains(model, actuators[0]) if len(actuators) == 1 else (0.0, 0.0)
        limited = bool(model.jnt_limited[joint])
        found.append(
            {
                "name": _name(model, mujoco.mjtObj.mjOBJ_JOINT, joint),
                "kind": "hinge" if _ROTATION[kind] else "slide",
                "unit": "rad" if _ROTATION[kind] else "m",
                "default_position": float(model.qpos0[model.jnt_qposadr[joint]]),
                "range": [float(edge) for edge in model.jnt_range[joint]] if limited else None,
                "actuators": [_name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, a) for a in actuators],
                "stiffness": stiffness,
                "damping": damping,
            }
        )
    return found


def joint_of(model: mujoco.MjModel, actuator: int) -> int | None:
    """Index of the joint that an actuator drives; None for tendons, sites and bodies."""
    drives_joint = int(model.actuator_trntype[actuator]) in _AT_JOINT
    return int(model.actuator_trnid[actuator, 0]) if drives_joint else None


def actuator_unit(model: mujoco.MjModel, actuator: int) -> str | None:
    """Unit of an actuator's command; None where the model does not tell.

    A motor whose command is the effort itself, and a position or velocity servo, tell it; where a
    gear or a gain stands between, the command has no unit of its own.
    """
    joint = joint_of(model, actuator)
    if joint is None or model.actuator_dyntype[actuator] != int(mujoco.mjtDyn.mjDYN_NONE):
        return None
    rotates = _ROTATION.get(mujoco.mjtJoint(model.jnt_type[joint]))
    fixed = model.actuator_gaintype[actuator] == int(mujoco.mjtGain.mjGAIN_FIXED)
    if rotates is None or not fixed or model.actuator_gear[actuator, 0] != 1:
        return None
    gain, stiffness, damping = float(model.actuator_gainprm[actuator, 0]), *_gains(model, actuator)
    if stiffness == damping == 0:
        effort = "N m" if rotates else "N"
        return effort if gain == 1 else None
    if stiffness > 0 and gain == stiffness:
        return "rad" if rotates else "m"
    if stiffness == 0 and gain == damping:
        return "rad/s" if rotates else "m/s"
    return None


def describe_cameras(
    model: mujoco.MjModel | None, cameras: Sequence[int | str], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Name, size and pinhole intrinsics [pixels] of every camera that `rgb` shows.

    Args:
        model: None where the task has no MuJoCo model; nothing is known of the optics then.
        cameras: By name or index.
        size: (height, width) of a picture [pixels].
    """
    height, width = size
    found = []
    for camera in cameras:
        told: dict[str, Any] = {"name": str(camera), "height": height, "width": width}
        told |= {"fovy_deg": None, "intrinsics": None}
        if model is not None:
            if camera == FREE_CAMERA:
                told["name"], fovy = "free", float(model.vis.global_.fovy)
            else:
                index = find_camera(model, camera)
                told["name"] = _name(model, mujoco.mjtObj.mjOBJ_CAMERA, index)
                fovy = float(model.cam_fovy[index])
            focal = height / 2 / math.tan(math.radians(fovy) / 2)
            told["fovy_deg"] = fovy
            told["intrinsics"] = {
                "fx": focal, "fy": focal, "cx": (width - 1) / 2, "cy": (height - 1) / 2,
            }  # fmt: skip
        found.append(told)
    return found


def model_sha256(model: mujoco.MjModel) -> str:
    """SHA-256 of the compiled model, as this version of MuJoCo saves it (MJB)."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).hexdigest()


def _gains(model: mujoco.MjModel, actuator: int) -> tuple[float, float]:
    """How stiffly an actuator holds its joint's position, and damps its velocity."""
    if model.actuator_biastype[actuator] != int(mujoco.mjtBias.mjBIAS_AFFINE):
        return 0.0, 0.0
    stiffness, damping = -model.actuator_biasprm[actuator, 1:3] + 0.0  # no -0
    return float(stiffness), float(damping)


def _name(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """Name of an object; its kind and index where it has none."""
    word = kind.name.removeprefix("mjOBJ_").lower()
    return mujoco.mj_id2name(model, kind, index) or f"{word}{index}"
