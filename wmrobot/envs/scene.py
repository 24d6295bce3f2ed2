"""What MuJoCo would draw of a simulation, seen by one camera: for all renderers, without OpenGL."""

from typing import Any, Protocol

import mujoco

from wmrobot.core.errors import TaskError, unknown

FREE_CAMERA = -1


class Physics(Protocol):
    """A running simulation as dm_control wraps it: MuJoCo's own are `.model.ptr`, `.data.ptr`."""

    @property
    def model(self) -> Any:
        """Holder of the `mujoco.MjModel`."""
        ...

    @property
    def data(self) -> Any:
        """Holder of the `mujoco.MjData`."""
        ...


class SceneView:
    """The abstract scene of a simulation: geoms, sites, tendons, lights and one camera.

    It holds `physics` and asks for its model and data anew, so it sees resets and reloads.

    Args:
        physics: The simulation to look at.
        flags: Rendering flags to set, by `mujoco.mjtRndFlag`; the others keep MuJoCo's default.
    """

    def __init__(
        self, physics: Physics, flags: dict[mujoco.mjtRndFlag, bool] | None = None
    ) -> None:
        self._physics = physics
        self._flags = flags or {}
        self._perturb = mujoco.MjvPerturb()
        self.option = mujoco.MjvOption()
        self.option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = False  # as dm_control does
        self._adopt(physics.model.ptr)

    def _adopt(self, model: mujoco.MjModel) -> None:
        self.model = model
        # The slack is for tendons, which are drawn in many pieces.
        objects = model.ngeom + model.nsite + model.nbody + model.njnt + model.nskin + model.nflex
        self.scene = mujoco.MjvScene(model, 1000 + 4 * objects)
        for flag, value in self._flags.items():
            self.scene.flags[flag] = value

    def update(self, camera: int | str) -> bool:
        """Look at the simulation as it is now.

        Args:
            camera: Name or index of a camera of the model, or -1 for MuJoCo's free camera.

        Returns:
            Whether the model is another one than at the last update.

        Raises:
            TaskError: The model has no such camera.
        """
        model = self._physics.model.ptr
        changed = model is not self.model
        if changed:
            self._adopt(model)
        mujoco.mjv_updateScene(
            model,
            self._physics.data.ptr,
            self.option,
            self._perturb,
            _make_camera(model, camera),
            mujoco.mjtCatBit.mjCAT_ALL,
            self.scene,
        )
        return changed

    @property
    def data(self) -> mujoco.MjData:
        """State of the simulation."""
        return self._physics.data.ptr


def _make_camera(model: mujoco.MjModel, camera: int | str) -> mujoco.MjvCamera:
    view = mujoco.MjvCamera()
    if camera == FREE_CAMERA:
        view.type = mujoco.mjtCamera.mjCAMERA_FREE
        mujoco.mjv_defaultFreeCamera(model, view)
        return view
    view.type = mujoco.mjtCamera.mjCAMERA_FIXED
    view.fixedcamid = find_camera(model, camera)
    return view


def find_camera(model: mujoco.MjModel, camera: int | str) -> int:
    """Index of a camera of the model.

    Raises:
        TaskError: The model has no such camera.
    """
    if model.ncam == 0:
        raise TaskError(
            f"camera {camera!r}: the model has no cameras; add <camera> to its MJCF, "
            "or take MuJoCo's free one with cameras=[-1]"
        )
    if isinstance(camera, str):
        index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if index < 0:
            names = [model.camera(i).name for i in range(model.ncam)]
            raise TaskError(unknown("camera", camera, filter(None, names)))
        return int(index)
    if not 0 <= camera < model.ncam:
        raise TaskError(
            f"camera {camera}: expected 0 <= camera < {model.ncam} (the model's cameras), "
            "or -1 for the free one"
        )
    return int(camera)
