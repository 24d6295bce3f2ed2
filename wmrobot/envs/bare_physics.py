"""MuJoCo's own batch and nothing else, to tell what rewards and observations cost beside it."""

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.batch import Batch

from wmrobot.core.spec import FloatArray
from wmrobot.envs.actions import ActionScale

STAGE = int(mujoco.mjtStage.mjSTAGE_VEL)
"""After a control step dm_control brings up to date what follows from positions and velocities."""


class BarePhysics:
    """A second batch that goes through the same states as another one, observed by nobody.

    Args:
        batch: The batch to follow.
        models: Model of each row, where they differ.
        scale: From actions to what the actuators take.
        repeat: Control steps of a decision.
        nstep: Simulation steps of a control step.
    """

    def __init__(
        self,
        batch: Batch,
        models: Sequence[mujoco.MjModel] | None,
        scale: ActionScale,
        *,
        repeat: int,
        nstep: int,
    ) -> None:
        self._followed, self._models, self._scale = batch, models, scale
        self._repeat, self._nstep = repeat, nstep
        self._batch = Batch(batch.model, batch.nsim, nthread=batch.nthread, persistent=True)
        self._ctrl = self._batch.bind("ctrl")
        self._controls = self._ctrl.copy()

    def follow(self) -> bool:
        """Be where the other batch has just come to; not to be timed.

        Returns:
            Whether it was there already: true unless an episode began.
        """
        there = np.array_equal(self._batch.state, self._followed.state, equal_nan=True)
        if not there:
            self._batch.state[:] = self._followed.state
            if self._models is not None:
                self._batch.set_models(self._models)  # a reset has changed them
        return there

    def take(self, actions: FloatArray) -> None:
        """Hold ready what (B, A) actions mean to the actuators; not to be timed."""
        self._scale.write(actions, self._controls)

    def step(self) -> None:
        """One decision."""
        self._ctrl[:] = self._controls
        for _ in range(self._repeat):
            self._batch.step(nstep=self._nstep, stage=STAGE)
