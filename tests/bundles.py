"""Bundles for tests: of controllers that learned nothing, and of the shipped ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.tiny import make_card
from wmrobot.app.controllers import Card, find_controller, make_model, read_controller
from wmrobot.app.export import gather
from wmrobot.core.files import MANIFEST, seal, write_atomic
from wmrobot.core.spec import ObsMode
from wmrobot.export.bundle import Request, write_bundle
from wmrobot.export.facts import Facts
from wmrobot.plan.config import PlannerConfig
from wmrobot.runtime.bundle.folder import KIND, SCHEMA

CART = f"{Path(__file__).parent / 'fixtures' / 'tiny.py'}:cart"
COUNTER = f"{Path(__file__).parent / 'fixtures' / 'tiny.py'}:counter"
REQUEST = Request(batch=1, precision="fp32", num_vectors=12, seed=0, threads=1, name="test")


def random_facts(name: str = CART, obs: ObsMode = "state", **changes: Any) -> Facts:
    """A controller whose weights are random and large, so that its plans differ."""
    card: Card = replace(make_card(name, obs), **changes)
    model = make_model(card, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(0.3 * drawn + ("norm" in key and "weight" in key))
    return Facts(
        model=model.eval(),
        planner=card.planner,
        task=card.task,
        options={
            "obs": card.obs, "cameras": card.cameras, "render": card.render,
            "image_size": card.image_size, "randomization": card.randomization,
        },
        randomization=card.randomization,
        made={},
        exported={"packages": {"numpy": "this one"}},
        weights_sha256="0" * 64,
    )  # fmt: skip


def shipped_facts(task: str, planner: PlannerConfig | None = None) -> Facts:
    """The shipped controller of a task."""
    folder = find_controller(task=task, run=None)
    model, card = read_controller(folder, torch.device("cpu"))
    return gather(model, card, folder, planner=planner or card.planner)


def write(folder: Path, facts: Facts, **changes: Any) -> Path:
    """Export to a folder."""
    write_bundle(folder, facts, replace(REQUEST, **changes))
    return folder


def reseal(folder: Path) -> None:
    """Hash the files as they are now, as whoever alters a bundle with care would."""
    (folder / MANIFEST).unlink()
    seal(folder, {"kind": KIND, "schema": SCHEMA})


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change `planner.json` and hash it again."""
    path = folder / "planner.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())
    reseal(folder)
