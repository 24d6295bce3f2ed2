"""What the planner imagines, in the scene: decoded latents into places of the robot's ends.

A decoder tells where joints are, a little wrongly. So imagined positions are told as a change from
where the robot is, and what the latent cannot tell (how far it has walked) comes from the decoded
velocity instead.
"""

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

MOST_TIPS = 6
SEGMENT = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """Rollouts in the scene; the first one is the plan's mean.

    Attributes:
        qpos: (E, L + 1, nq) joint positions, from where the robot is on.
        tips: (E, L + 1, T, 3) places of the robot's ends.
        horizon: Steps that the planner searched; the prior went on from there.
        start: Decision that they start from.
    """

    qpos: np.ndarray
    tips: np.ndarray
    horizon: int
    start: int


@dataclass(frozen=True, kw_only=True)
class Tip:
    """The far end of a body that carries no other one.

    Attributes:
        body: Index of the body.
        offset: (3,) where the end is in the body's frame [m].
    """

    body: int
    offset: np.ndarray


def find_tips(model: mujoco.MjModel) -> list[Tip]:
    """Ends of a robot whose paths are worth drawing: feet, hands, the end of a pole."""
    parents = set(model.body_parentid[1:].tolist())
    tips = []
    for body in range(1, model.nbody):
        moves = model.body_weldid[body] != 0 and model.body_mocapid[body] < 0
        if body not in parents and moves and model.body_geomnum[body]:
            tips.append(Tip(body=body, offset=_far_end(model, body)))
    return tips[:MOST_TIPS]


def _far_end(model: mujoco.MjModel, body: int) -> np.ndarray:
    """Point of a body that lies furthest from where it is joined (3,)."""
    first = model.body_geomadr[body]
    points = []
    for geom in range(first, first + model.body_geomnum[body]):
        centre = model.geom_pos[geom]
        points.append(centre)
        if model.geom_type[geom] in SEGMENT:
            axis = np.zeros(9)
            mujoco.mju_quat2Mat(axis, model.geom_quat[geom])
            half = model.geom_size[geom, 1] * axis.reshape(3, 3)[:, 2]
            points += [centre + half, centre - half]
    return np.array(max(points, key=lambda point: float(np.linalg.norm(point))))


class Imagination:
    """Places decoded rollouts, and keeps score of how true they were.

    Args:
        model: The robot.
        seen: (nq,) what the decoder can tell.
        control_dt: Time between two decisions [s].
    """

    def __init__(self, model: mujoco.MjModel, seen: np.ndarray, control_dt: float) -> None:
        self.tips = find_tips(model)
        self._model, self._dt = model, control_dt
        self._data = mujoco.MjData(model)
        limited = model.jnt_limited[model.dof_jntid].astype(np.bool_)
        hinge = model.jnt_type[model.dof_jntid] == int(mujoco.mjtJoint.mjJNT_HINGE)
        self._turns = hinge & ~limited  # (nv,)
        self._seen = _by_dof(model, seen)
        self._expected: deque[tuple[int, int, np.ndarray]] = deque(maxlen=400)
        self._errors: dict[int, deque[float]] = {}

    def place(
        self, qpos: np.ndarray, decoded: np.ndarray, velocity: np.ndarray, horizon: int, start: int
    ) -> Imagined:
        """Rollouts from where the robot is.

        Args:
            qpos: (nq,) where it is.
            decoded: (E, L + 1, nq) decoded positions; step 0 is now.
            velocity: (E, L + 1, nv) decoded velocities.
            horizon: Steps that the planner searched.
            start: Present decision.
        """
        rollouts, steps, _ = decoded.shape
        placed = np.empty(decoded.shape, dtype=np.float64)
        tips = np.empty((rollouts, steps, len(self.tips), 3))
        change = np.zeros(self._model.nv)
        travelled = np.cumsum(velocity * self._dt, axis=1) - velocity[:, :1] * self._dt
        for e in range(rollouts):
            first = decoded[e, 0].astype(np.float64)
            for t in range(steps):
                there = decoded[e, t].astype(np.float64)
                mujoco.mj_differentiatePos(self._model, change, 1.0, first, there)
                change[self._turns] = (change[self._turns] + np.pi) % (2 * np.pi) - np.pi
                told = np.where(self._seen, change, travelled[e, t])
                placed[e, t] = qpos
                mujoco.mj_integratePos(self._model, placed[e, t], told, 1.0)
                tips[e, t] = self.tips_at(placed[e, t])
        return Imagined(qpos=placed, tips=tips, horizon=horizon, start=start)

    def tips_at(self, qpos: np.ndarray) -> np.ndarray:
        """Places (T, 3) of the robot's ends for joint positions (nq,)."""
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        if not self.tips:
            return np.zeros((0, 3))
        return np.stack(
            [
                self._data.xpos[tip.body] + self._data.xmat[tip.body].reshape(3, 3) @ tip.offset
                for tip in self.tips
            ]
        )

    def expect(self, imagined: Imagined) -> None:
        """Remember what the mean promised, to compare it with what comes."""
        last = imagined.tips.shape[1] - 1
        for ahead in sorted({min(imagined.horizon, last), last}):
            where = imagined.start + ahead
            self._expected.append((where, ahead, imagined.tips[0, ahead]))

    def happened(self, tick: int, qpos: np.ndarray) -> None:
        """Compare with where the robot really is at a decision."""
        due = [each for each in self._expected if each[0] == tick]
        if not due or not self.tips:
            return
        real = self.tips_at(qpos)
        for _, ahead, promised in due:
            errors = self._errors.setdefault(ahead, deque(maxlen=200))
            errors.append(float(np.linalg.norm(promised - real, axis=1).mean()))
        self._expected = deque((e for e in self._expected if e[0] > tick), maxlen=400)

    def forget(self) -> None:
        """An episode has ended: what was promised will not come."""
        self._expected.clear()

    def errors(self) -> dict[int, float]:
        """Mean distance [m] of promised and real ends by decisions ahead."""
        return {ahead: float(np.mean(seen)) for ahead, seen in sorted(self._errors.items())}


def _by_dof(model: mujoco.MjModel, seen: np.ndarray) -> np.ndarray:
    """(nv,) of a flag for each entry of `qpos` (nq,)."""
    flags = np.zeros(model.nv, dtype=np.bool_)
    for joint in range(model.njnt):
        position, dof = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        match mujoco.mjtJoint(model.jnt_type[joint]):
            case mujoco.mjtJoint.mjJNT_FREE:
                flags[dof : dof + 3] = seen[position : position + 3]
                flags[dof + 3 : dof + 6] = seen[position + 3 : position + 7].all()
            case mujoco.mjtJoint.mjJNT_BALL:
                flags[dof : dof + 3] = seen[position : position + 4].all()
            case _:
                flags[dof] = seen[position]
    return flags
