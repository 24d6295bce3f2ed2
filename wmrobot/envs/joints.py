"""Joint positions as numbers that a line can tell: an angle that goes round by sine and cosine."""

from typing import Any

import mujoco
import numpy as np

_SIZE = {
    mujoco.mjtJoint.mjJNT_FREE: 7,
    mujoco.mjtJoint.mjJNT_BALL: 4,
    mujoco.mjtJoint.mjJNT_SLIDE: 1,
    mujoco.mjtJoint.mjJNT_HINGE: 1,
}


def joint_names(physics: Any) -> tuple[str, ...]:
    """Name of each number of `joint_positions`, in order."""
    names: list[str] = []
    for joint, size, goes_round in _joints(physics):
        name = physics.model.id2name(joint, "joint") or f"joint {joint}"
        if goes_round:
            names += [f"sin {name}", f"cos {name}"]
        else:
            names += [name] if size == 1 else [f"{name}[{i}]" for i in range(size)]
    return tuple(names)


def joint_positions(physics: Any) -> np.ndarray:
    """(J,) positions: slides [m], hinges with limits [rad], others by sine and cosine.

    Free and ball joints give their position [m] and quaternion as they are.
    """
    values: list[float] = []
    qpos = np.asarray(physics.data.qpos)
    for joint, size, goes_round in _joints(physics):
        first = int(physics.model.jnt_qposadr[joint])
        here = qpos[first : first + size]
        values += [np.sin(here[0]), np.cos(here[0])] if goes_round else here.tolist()
    return np.array(values)


def _joints(physics: Any) -> list[tuple[int, int, bool]]:
    """Number, size and whether it goes round, of each joint."""
    model = physics.model
    return [
        (
            joint,
            _SIZE[mujoco.mjtJoint(int(model.jnt_type[joint]))],
            model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE and not model.jnt_limited[joint],
        )
        for joint in range(model.njnt)
    ]
