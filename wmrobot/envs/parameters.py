"""Physical parameters drawn at each reset and written into the simulation."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from wmrobot.core.errors import TaskError, unknown
from wmrobot.envs.task import ParameterRange, TaskEnv

MODEL_TARGET = re.compile(r"(\w+)\[(.+)\]")
RENDER_STATISTICS = ("extent", "center", "meansize")


class Adjustable(Protocol):
    """What a task offers that has parameters outside its mjModel: motor constants, deadbands."""

    @property
    def parameters(self) -> Mapping[str, float]:
        """Present value by name."""
        ...

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Change some of them."""
        ...


class Parameters:
    """Draws the declared parameters and writes them where they belong."""

    def __init__(self, env: TaskEnv, ranges: Sequence[ParameterRange]) -> None:
        targets = [each.target for each in ranges]
        twice = sorted({target for target in targets if targets.count(target) > 1})
        if twice:
            raise TaskError(f"randomization: expected each target once, got {twice[0]} twice")
        self._env = env
        self._ranges = {each.target: each for each in ranges}
        self._model = {t: _ModelField(env, t) for t in targets if MODEL_TARGET.fullmatch(t)}
        self._task = _task_nominal(env, [t for t in targets if t not in self._model])
        self._scratch: Any | None = None

    def draw(self, generator: np.random.Generator) -> dict[str, float]:
        """Target -> value, or factor where the range is a scale."""
        return {target: _draw(each, generator) for target, each in self._ranges.items()}

    def apply(self, drawn: Mapping[str, float]) -> None:
        """Write values, always starting from the nominal ones."""
        if set(drawn) != set(self._ranges):
            raise TaskError(
                f"randomization: expected parameters {sorted(self._ranges)}, got {sorted(drawn)}"
            )
        physics = self._env.physics
        # Masses first, as they scale inertias too: a range of the inertia itself has the last word.
        for target in sorted(self._model, key=lambda target: not target.startswith("body_mass[")):
            scale = self._ranges[target].scale
            self._model[target].write(physics, drawn[target], scale=scale)
        if self._model:
            model = cast(Any, physics).model.ptr
            self._scratch = derive_constants(model, self._scratch)
        if self._task:
            values = {
                target: nominal * drawn[target] if self._ranges[target].scale else drawn[target]
                for target, nominal in self._task.items()
            }
            cast(Adjustable, _adjustable(self._env)).set_parameters(values)


def derive_constants(model: Any, scratch: Any | None = None) -> Any:
    """Recompute what an `MjModel` derives from masses, inertias and geometry.

    Args:
        model: The `MjModel`.
        scratch: What the last call for this model returned; None makes it anew.

    Returns:
        An `MjData` to give to the next call: mj_setConst overwrites the state it works on.
    """
    import mujoco

    scratch = mujoco.MjData(model) if scratch is None else scratch
    kept = {name: np.copy(getattr(model.stat, name)) for name in RENDER_STATISTICS}
    mujoco.mj_setConst(model, scratch)
    # Camera clipping and light follow from these; a picture must not change with a mass.
    model.stat.extent = kept["extent"].item()
    model.stat.meansize = kept["meansize"].item()
    model.stat.center[:] = kept["center"]
    return scratch


class _ModelField:
    """One entry of an mjModel array, by the name of its object."""

    def __init__(self, env: TaskEnv, target: str) -> None:
        matched = MODEL_TARGET.fullmatch(target)
        assert matched is not None
        self._field, self._name = matched.groups()
        if env.physics is None:
            raise TaskError(
                f"{target}: expected a task of MuJoCo, got {env.task_spec.name}, which has no "
                "physics to change; name a parameter of its own `set_parameters` instead"
            )
        fields = _named_fields(env.physics)
        if self._field not in fields:
            raise TaskError(f"{target}: {unknown('mjModel field', self._field, fields)}")
        names = fields[self._field]
        if self._name not in names:
            raise TaskError(f"{target}: {unknown(f'object in {self._field}', self._name, names)}")
        self._nominal = self._array(env.physics, self._field).copy()
        self._nominal_inertia = (
            self._array(env.physics, "body_inertia").copy() if self._field == "body_mass" else None
        )

    def write(self, physics: Any, value: float, *, scale: bool) -> None:
        """Write `value`, or the nominal one times `value`."""
        now = self._nominal * value if scale else np.full_like(self._nominal, value)
        self._array(physics, self._field)[...] = now
        if self._nominal_inertia is not None:
            # The same shape of another density: a heavier rod is also harder to turn.
            ratio = now / self._nominal
            self._array(physics, "body_inertia")[...] = self._nominal_inertia * ratio

    def _array(self, physics: Any, field: str) -> npt.NDArray[np.float64]:
        """Writable view of the entry in the model's own memory."""
        names = _named_fields(physics)[field]
        row = names.index(self._name)
        view: npt.NDArray[np.float64] = getattr(physics.model.ptr, field)[row : row + 1]
        return view


def _named_fields(physics: Any) -> dict[str, list[str]]:
    """Names of the rows of every field of numbers of mjModel whose rows have names."""
    named = physics.named.model
    fields = {}
    for field in dir(named):
        if field.startswith("_"):
            continue
        names = getattr(getattr(named, field).axes.row, "names", None)
        if names and getattr(physics.model.ptr, field).dtype == np.float64:
            fields[field] = [str(name) for name in names]
    return fields


def _adjustable(env: TaskEnv) -> Adjustable | None:
    """Who takes parameters outside the mjModel: the environment, or the task that it wraps."""
    for owner in (env, getattr(env, "task", None)):
        if hasattr(owner, "set_parameters") and hasattr(owner, "parameters"):
            return cast(Adjustable, owner)
    return None


def _task_nominal(env: TaskEnv, targets: Sequence[str]) -> dict[str, float]:
    """Nominal values of parameters outside the mjModel."""
    if not targets:
        return {}
    owner = _adjustable(env)
    known = {} if owner is None else dict(owner.parameters)
    for target in targets:
        if target not in known:
            raise TaskError(
                f"{env.task_spec.name}: {unknown('parameter', target, known)} "
                "(parameters of the mjModel are written field[object], for instance body_mass[arm])"
            )
    return {target: float(known[target]) for target in targets}


def _draw(each: ParameterRange, generator: np.random.Generator) -> float:
    if each.log:
        drawn = math.exp(generator.uniform(math.log(each.low), math.log(each.high)))
        return min(max(drawn, each.low), each.high)  # exp(log(x)) is not x to the last bit
    return float(generator.uniform(each.low, each.high))
