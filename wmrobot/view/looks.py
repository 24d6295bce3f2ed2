"""How a robot looks: what resets may change of a model, a target's place for instance."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

# What is drawn follows from these.
SEEN = (
    *("body_pos", "body_quat", "geom_pos", "geom_quat", "geom_size", "geom_rgba"),
    *("site_pos", "site_quat", "site_size", "site_rgba", "mat_rgba"),
)
Looks = Mapping[str, np.ndarray]
"""Fields of an `MjModel` by name; none stand for the looks that it has."""


def looks_of(model: Any) -> dict[str, np.ndarray]:
    """What an `MjModel` looks like now."""
    return {name: getattr(model, name).copy() for name in SEEN}


def wear(model: Any, looks: Looks) -> None:
    """Make an `MjModel` look so."""
    for name, value in looks.items():
        getattr(model, name)[:] = value


def dressed(model: Any, looks: Looks) -> Any:
    """Another `MjModel` that looks so."""
    other = copy.copy(model)
    wear(other, looks)
    return other


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of everything that a moment of an `MjModel` is drawn from, by name."""
    place = {"qpos": (model.nq,), "mocap_pos": (model.nmocap, 3), "mocap_quat": (model.nmocap, 4)}
    return place | {name: getattr(model, name).shape for name in SEEN}
