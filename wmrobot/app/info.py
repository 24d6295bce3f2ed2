"""`wmrobot info`: what is installed and found here, or what a controller was made for."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from wmrobot import __version__
from wmrobot.app.output import emit
from wmrobot.core.machine import cores, cpu_model

PACKAGES = ("numpy", "onnxruntime", "torch", "mujoco", "dm-control", "gymnasium", "hydra-core")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `info`.

    Attributes:
        task: Tell about the shipped controller of this task instead of about the machine.
        run: Tell about this run or controller instead.
    """

    task: str | None = None
    run: str | None = None


def run(cfg: Config, *, json: bool) -> int:
    """Tell about the machine, or about a controller."""
    facts = machine() if cfg.task is None and cfg.run is None else controller(cfg)
    if json:
        emit(facts)
    else:
        print("\n".join(_lines(facts)))
    return 0


def machine() -> dict[str, Any]:
    """Versions, device, threads and renderer."""
    facts: dict[str, Any] = {
        "wmrobot": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": cpu_model(),
        "cores": cores(),
    }
    if find_spec("mujoco") is not None:
        from wmrobot.envs.render import choose_backend

        facts["renderer"] = choose_backend()
    if find_spec("torch") is not None:
        import torch

        facts["threads"] = torch.get_num_threads()
        cuda = torch.cuda.is_available()
        facts["device"] = torch.cuda.get_device_name() if cuda else "cpu"
    return facts


def controller(cfg: Config) -> dict[str, Any]:
    """Where a controller lies and what its card says; its files are verified on the way.

    Raises:
        CheckpointError: There is none, or it is altered.
    """
    from wmrobot.app.controllers import CONTROLLER, KIND, SCHEMA, find_controller
    from wmrobot.core.files import unseal
    from wmrobot.core.trees import load_tree

    folder = find_controller(task=cfg.task, run=cfg.run)
    unseal(folder, KIND, SCHEMA)
    return {"folder": str(folder), **load_tree(folder, CONTROLLER)["card"]}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(facts: Mapping[str, Any], indent: str = "", absent: str = "none") -> Iterator[str]:
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _lines(
                value, indent + "  ", "not installed" if name == "packages" else absent
            )
        else:
            yield f"{indent}{name:{width}}  {absent if value is None else value}"
