"""`wmrobot info`: what is installed and found here, or what a controller or bundle is for."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wmrobot import __version__
from wmrobot.app.output import emit
from wmrobot.core.errors import ConfigError
from wmrobot.core.files import user_path
from wmrobot.core.machine import cores, cpu_model

PACKAGES = ("numpy", "onnxruntime", "torch", "mujoco", "dm-control", "gymnasium", "hydra-core")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `info`.

    Attributes:
        task: Tell about the shipped controller of this task instead of about the machine.
        run: Tell about this run or controller instead.
        bundle: Tell about this folder that `wmrobot export` wrote instead.
    """

    task: str | None = None
    run: str | None = None
    bundle: str | None = None

    def __post_init__(self) -> None:
        if self.bundle is not None and (self.task is not None or self.run is not None):
            raise ConfigError("bundle: expected it alone, got a task or a run beside it")


def run(cfg: Config, *, json: bool) -> int:
    """Tell about the machine, or about a controller or a bundle."""
    if cfg.bundle is not None:
        facts = bundle(user_path(cfg.bundle))
    elif cfg.task is None and cfg.run is None:
        facts = machine()
    else:
        facts = controller(cfg)
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


def bundle(folder: Path) -> dict[str, Any]:
    """Where a bundle lies and what its `planner.json` says; its files are verified on the way.

    Raises:
        BundleError: There is none, or it is altered.
    """
    from wmrobot.runtime.bundle.folder import Bundle

    document = Bundle.read(folder).description.document
    told = {name: value for name, value in document.items() if name != "graphs"}
    return {"folder": str(folder), **told}


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
        elif isinstance(value, Sequence) and any(isinstance(entry, Mapping) for entry in value):
            yield f"{indent}{name}"
            yield from (f"{indent}  {_words(entry)}" for entry in value)
        else:
            yield f"{indent}{name:{width}}  {absent if value is None else value}"


def _words(entry: Mapping[str, Any]) -> str:
    """One of a list of alike things, in one line: what is open about it is left out."""
    told = {name: value for name, value in entry.items() if value not in (None, [])}
    return ", ".join(f"{name} {value}" for name, value in told.items())
