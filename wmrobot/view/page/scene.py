"""The robot, what it imagines, and what pulls at it: drawn by mjviser."""

from collections.abc import Callable

import mujoco
import numpy as np
import viser
from mjviser import ViserMujocoScene
from mjviser.conversions import is_fixed_body, merge_geoms

from wmrobot.view.page.imagination import Imagined

PLANNED = np.array([255, 122, 0])  # what the planner searched
BEYOND = np.array([140, 140, 150])  # the prior goes on from there
MEAN = np.array([0, 120, 255])
GHOST = (0, 120, 255)
GHOST_OPACITY = 0.28
STIFFNESS = 0.5  # a pull over the robot's whole size: this many times its weight
Pull = Callable[[int, np.ndarray], None]


class Scene:
    """The 3D part of a window.

    Args:
        server: Whose page it is on.
        model: The robot and what stands around it.
        follows: Whether the scene moves with the robot.
    """

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel, *, follows: bool) -> None:
        self.model, self._server = model, server
        self.data = mujoco.MjData(model)
        self._ghost_data = mujoco.MjData(model)
        server.scene.reset()
        server.scene.set_up_direction("+z")
        self._robot = ViserMujocoScene(server, model, num_envs=1)
        self._robot.camera_tracking_enabled = follows
        self._robot.show_tendons = model.ntendon > 0
        self._frame = server.scene.add_frame("/imagined", show_axes=False)
        self._ghost = _make_ghost(server, model)
        self._lines: viser.LineSegmentsHandle | None = None
        self.shows_ghost = self.shows_lines = self.shows_shadows = True
        self._set_camera()

    @property
    def follows(self) -> bool:
        """Whether the scene moves with the robot."""
        return self._robot.camera_tracking_enabled

    @follows.setter
    def follows(self, value: bool) -> None:
        self._robot.camera_tracking_enabled = value

    def set_shadows(self, shown: bool) -> None:
        """Let the light cast shadows, or not: three more passes over the scene a picture."""
        if shown != self.shows_shadows:
            self.shows_shadows = shown
            self._server.scene.configure_default_lights(cast_shadow=shown)

    def draw(
        self,
        qpos: np.ndarray,
        mocap: tuple[np.ndarray, np.ndarray] | None,
        imagined: Imagined | None,
    ) -> None:
        """Show one moment.

        Args:
            qpos: (nq,) joint positions.
            mocap: (M, 3) positions and (M, 4) quaternions of mocap bodies, where there are any.
            imagined: What the planner imagines.
        """
        self.data.qpos[:] = qpos
        if mocap is not None and self.model.nmocap:
            self.data.mocap_pos[:], self.data.mocap_quat[:] = mocap
        mujoco.mj_kinematics(self.model, self.data)
        if self.model.ntendon:
            mujoco.mj_tendon(self.model, self.data)
        with self._server.atomic():
            self._robot.update_from_mjdata(self.data)
            self._frame.position = self._robot.fixed_bodies_frame.position
            self._draw_ghost(imagined)
            self._draw_lines(imagined)

    def on_pull(self, pull: Pull) -> None:
        """Call `pull` with a body and the force (3,) [N] on it while somebody drags it."""
        weight = float(self.model.body_mass.sum()) * 9.81
        newtons = STIFFNESS * weight / max(float(self.model.stat.extent), 1e-3)
        for group in self._robot._mesh_groups:
            bodies = group.body_ids

            async def dragged(
                event: viser.SceneNodeDragEvent[viser.BatchedGlbHandle], bodies: np.ndarray = bodies
            ) -> None:
                body = int(bodies[min(event.instance_index or 0, len(bodies) - 1)])
                way = np.subtract(event.end_position, event.start_position)
                pull(body, np.zeros(3) if event.phase == "end" else newtons * way)

            group.handle.on_drag("left", modifier="cmd/ctrl")(dragged)

    def _set_camera(self) -> None:
        """Look at the middle of the scene, at its whole extent."""
        centre = np.zeros(3) if self.follows else np.array(self.model.stat.center)
        distance = 1.6 * float(self.model.stat.extent)
        away = distance * np.array([0.35, -0.88, 0.32])
        camera = self._server.initial_camera
        camera.position, camera.look_at = centre + away, centre
        camera.fov = np.radians(45)

    def _draw_ghost(self, imagined: Imagined | None) -> None:
        """Where the mean plan expects the robot at the end of the look-ahead."""
        shown = self.shows_ghost and imagined is not None
        for _, handle in self._ghost:
            handle.visible = shown
        if imagined is None or not shown:
            return
        self._ghost_data.qpos[:] = imagined.qpos[0, -1]
        mujoco.mj_kinematics(self.model, self._ghost_data)
        for body, handle in self._ghost:
            handle.batched_positions = self._ghost_data.xpos[body][None].astype(np.float32)
            handle.batched_wxyzs = self._ghost_data.xquat[body][None].astype(np.float32)

    def _draw_lines(self, imagined: Imagined | None) -> None:
        """Paths of the robot's ends: elites, and the mean in another colour."""
        if imagined is None or not self.shows_lines or not imagined.tips.shape[2]:
            if self._lines is not None:
                self._lines.visible = False
            return
        tips = imagined.tips  # (E, L + 1, T, 3)
        points = np.stack([tips[:, :-1], tips[:, 1:]], axis=3)  # (E, L, T, 2, 3)
        beyond = np.arange(points.shape[1]) >= imagined.horizon
        colours = np.where(beyond[:, None], BEYOND, PLANNED)  # (L, 3)
        colours = np.broadcast_to(colours[None, :, None, None], points.shape).copy()
        colours[0, ~beyond] = MEAN
        flat = points.reshape(-1, 2, 3).astype(np.float32)
        shades = colours.reshape(-1, 2, 3).astype(np.uint8)
        if self._lines is None or len(self._lines.points) != len(flat):
            self._lines = self._server.scene.add_line_segments(
                "/imagined/paths", flat, shades, thickness=3.0, thickness_units="screen"
            )
        else:
            self._lines.points, self._lines.colors = flat, shades
            self._lines.visible = True


def _make_ghost(
    server: viser.ViserServer, model: mujoco.MjModel
) -> list[tuple[int, viser.BatchedMeshHandle]]:
    """A pale copy of every body that moves."""
    handles = []
    for body in range(1, model.nbody):
        first, count = model.body_geomadr[body], model.body_geomnum[body]
        shown = [
            geom
            for geom in range(first, first + count)
            if model.geom_group[geom] < 3 and model.geom_rgba[geom, 3] > 0
        ]
        if not shown or is_fixed_body(model, body):
            continue
        mesh = merge_geoms(model, shown)
        handle = server.scene.add_batched_meshes_simple(
            f"/imagined/ghost/{body}",
            np.asarray(mesh.vertices, dtype=np.float32),
            np.asarray(mesh.faces, dtype=np.int32),
            batched_wxyzs=np.array([[1.0, 0.0, 0.0, 0.0]], dtype=np.float32),
            batched_positions=np.zeros((1, 3), dtype=np.float32),
            batched_colors=np.array([GHOST], dtype=np.uint8),
            batched_opacities=np.array([GHOST_OPACITY], dtype=np.float32),
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
            visible=False,
        )
        handles.append((body, handle))
    return handles
