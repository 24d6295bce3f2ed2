"""Exact state of a dm_control environment: what it does next is bit-identical after going back.

MuJoCo's integration state is exact where dm_control's own `get_state` is not. Beside it stand the
model's fields that resets change (a reacher's target, a fish's goal), the random streams and plain
attributes of task, physics and environment, and what the task itself tells through `get_state`.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import mujoco
import numpy as np
from dm_control.mujoco import Physics
from dm_control.rl import control

from wmrobot.envs.attributes import NotPlainError, decode, encode, load_attributes, save_attributes

SIGNATURE = mujoco.mjtState.mjSTATE_INTEGRATION
ASSETS = ("mesh_", "skin_", "tex_", "flex", "bvh_", "oct_", "names", "paths", "text_", "plugin_")
"""Fields of the model, by prefix, that stay as compiled: large, and no reset changes them."""


class SimulationState:
    """Takes and puts back the state of one environment, which must just have been built.

    Args:
        env: A `dm_control.rl.control.Environment`, or one derived from it.
    """

    def __init__(self, env: control.Environment) -> None:
        self._env = env
        self._fresh = {name: array.copy() for name, array in self._fields()}

    def save(self) -> dict[str, Any] | None:
        """The state as a tree of arrays and JSON; None if the task holds more than can be told."""
        env, task, physics = self._env, self._env.task, self._env.physics
        told = hasattr(task, "get_state")
        try:
            return {
                "integration": physics.get_state(SIGNATURE),
                "model": {
                    name: array.copy()
                    for name, array in self._fields()
                    if not np.array_equal(array, self._fresh[name])
                },
                "env": save_attributes(env, skip=("_task", "_physics")),
                "physics": save_attributes(physics, skip=_engine_attributes(), strict=False),
                "task": save_attributes(task, strict=not told),
                "told": encode(task.get_state()) if told else None,
            }
        except NotPlainError:
            return None

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go back to what `save` took of this environment, or of one built with the same seed."""
        env, task, physics = self._env, self._env.task, self._env.physics
        for name, array in self._fields():
            array[...] = saved["model"].get(name, self._fresh[name])
        load_attributes(env, saved["env"])
        load_attributes(physics, saved["physics"])
        load_attributes(task, saved["task"])
        if saved["told"] is not None:
            task.set_state(decode(saved["told"]))
        model, data = physics.model.ptr, physics.data.ptr
        mujoco.mj_resetData(model, data)
        mujoco.mj_setState(model, data, saved["integration"], SIGNATURE)
        mujoco.mj_forward(
            model, data
        )  # positions, contacts and the like, which the next step starts from
        mujoco.mj_setState(model, data, saved["integration"], SIGNATURE)  # but not its warm start

    def _fields(self) -> Iterator[tuple[str, np.ndarray]]:
        """Arrays of the model, and of its options, that a reset may change."""
        model = self._env.physics.model.ptr
        for owner, prefix, names in (
            (model, "", _model_fields()),
            (model.opt, "opt.", _option_fields()),
        ):
            for name in names:
                array = getattr(owner, name)
                if isinstance(array, np.ndarray) and array.size:
                    yield prefix + name, array


@lru_cache
def _model_fields() -> tuple[str, ...]:
    return tuple(name for name in dir(mujoco.MjModel) if not name.startswith(("_", *ASSETS)))


@lru_cache
def _option_fields() -> tuple[str, ...]:
    return tuple(name for name in dir(mujoco.MjOption) if not name.startswith("_"))


@lru_cache
def _engine_attributes() -> frozenset[str]:
    """Attributes that every dm_control physics has: the engine's own, nothing to remember."""
    return frozenset(vars(Physics.from_xml_string("<mujoco/>")))
