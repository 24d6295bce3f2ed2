"""Controllers on disk: weights, and a card with all that is needed to use them.

A controller is a sealed folder with `controller.json` and `controller.safetensors`. Every
checkpoint of a run is one too (it holds more), and so is every shipped controller under
`assets/controllers/`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wmrobot.app.device import pick_device
from wmrobot.control.agents import AgentKind, make_agent
from wmrobot.control.controller import Agent, Controller
from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import CheckpointError, unknown
from wmrobot.core.files import REPLACED, unseal, user_path
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.resources import resource_folder
from wmrobot.core.spec import ObsMode, TaskSpec
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.core.types import Compiler, leave_as_is
from wmrobot.envs.registry import canonical_name, name_of_own, task_info
from wmrobot.envs.task import Randomization, RenderMode
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel
from wmrobot.plan.config import PlannerConfig

KIND, SCHEMA = "controller", 1
CONTROLLER = "controller"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a set of weights was made for. Plain values only: it is stored as JSON.

    Attributes:
        task: Facts of the task.
        obs: What the robot sees.
        cameras: Cameras of the pictures; None for the task's own.
        render: How pictures are drawn.
        image_size: Height and width of the pictures [pixels].
        randomization: Differences between robot and simulation that it was trained with.
        model: Sizes of the networks.
        planner: Planner that it was trained with.
        discount: Weight of the next decision's value.
        made: Versions, commit, seed, decisions.
    """

    task: TaskSpec
    obs: ObsMode
    cameras: tuple[int | str, ...] | None
    render: RenderMode
    image_size: int
    randomization: Randomization
    model: ModelConfig
    planner: PlannerConfig
    discount: float
    made: dict[str, Any]

    def env_options(self) -> dict[str, Any]:
        """Arguments of `make_env` that give the observations it was trained with."""
        return {
            "obs": self.obs,
            "cameras": self.cameras,
            "render": self.render,
            "image_size": self.image_size,
            "randomization": self.randomization,
        }


def make_model(card: Card, device: torch.device) -> WorldModel:
    """An untrained model of the sizes that the card tells."""
    model = WorldModel(
        card.model,
        obs_shapes=card.task.obs_shapes,
        action_dim=card.task.action_dim,
        discount=card.discount,
        episodic=card.task.episodic,
    )
    return model.to(device)


def make_controller(
    model: WorldModel,
    card: Card,
    generator: torch.Generator,
    planner: PlannerConfig | None = None,
    compiler: Compiler = leave_as_is,
) -> Controller:
    """The planner inside a model, closed-loop."""
    return Controller(
        model,
        planner or card.planner,
        obs_shapes=card.task.obs_shapes,
        action_dim=card.task.action_dim,
        num_q=card.model.num_q,
        frame_stack=card.model.frame_stack,
        generator=generator,
        compiler=compiler,
    )


def build_agent(
    model: WorldModel,
    card: Card,
    kind: AgentKind,
    seed: int,
    *,
    stream: str,
    compiler: Compiler = leave_as_is,
) -> Agent:
    """Who drives, of a trained model.

    Args:
        model: Trained model.
        card: What it was made for.
        kind: See `make_agent`.
        seed: Of the planner's noise, or of random actions.
        stream: Name of the random stream of the noise.
        compiler: Makes planning faster.
    """
    generator = make_generator(seed, stream, next(model.parameters()).device)
    controller = make_controller(model, card, generator, compiler=compiler)
    return make_agent(kind, controller, make_numpy_generator(seed, "random agent"))


def save_controller(folder: Path, model: WorldModel, card: Card) -> None:
    """Write weights and card into a folder that the caller seals."""
    weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    save_tree(folder, CONTROLLER, {"card": to_plain(card), "weights": weights})


def read_controller(folder: Path, device: torch.device) -> tuple[WorldModel, Card]:
    """Read a sealed controller and verify it.

    Raises:
        CheckpointError: Missing, altered, of a newer schema, or inconsistent.
    """
    unseal(folder, KIND, SCHEMA)
    tree = load_tree(folder, CONTROLLER)
    card = build(Card, tree["card"])
    model = make_model(card, device)
    load_weights(model, tree["weights"], folder)
    return model, card


def describe_sizes(card: Card) -> str:
    """What weights of a controller's model depend on most, in words."""
    shapes = [f"{name} {'x'.join(map(str, shape))}" for name, shape in card.task.obs_shapes.items()]
    sizes = f"latent_dim={card.model.latent_dim}, mlp_dim={card.model.mlp_dim}"
    profile = card.made.get("profile") or "base"
    return f"{', '.join(shapes)}, {card.task.action_dim} actions, {sizes} (profile={profile})"


def load_weights(model: WorldModel, weights: Mapping[str, Any], origin: Path) -> None:
    """Copy stored weights into a model of the same sizes.

    Raises:
        CheckpointError: A weight is missing, has another shape, or is not finite.
    """
    own = model.state_dict()
    if set(own) != set(weights):
        odd = sorted(set(own) ^ set(weights))
        raise CheckpointError(f"{origin}: weights of another model; they differ in {odd[0]}")
    for name, value in weights.items():
        if value.shape != tuple(own[name].shape):
            raise CheckpointError(
                f"{origin}: {name}: expected shape {tuple(own[name].shape)}, got {value.shape}"
            )
        tensor = torch.from_numpy(value)
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{origin}: {name}: expected finite weights, got NaN or Inf")
        own[name].copy_(tensor)


def shipped_controllers() -> dict[str, Path]:
    """Folder of every shipped controller by task; a second one of a task is `<task>@<obs>`."""
    folder = resource_folder("assets") / "controllers"
    return {p.parent.name: p.parent for p in sorted(folder.glob("*/manifest.json"))}


def find_controller(*, task: str | None, run: str | None) -> Path:
    """Folder of a run's newest checkpoint, of a controller, or of a task's shipped controller.

    Args:
        task: Task whose shipped controller to take, where `run` is None.
        run: Folder of a run, of one of its checkpoints, or of a controller.

    Raises:
        CheckpointError: There is none.
    """
    if run is not None:
        folder = user_path(run)
        if (folder / "manifest.json").is_file():
            return folder
        saved = checkpoint_folders(folder)
        if saved:
            return saved[-1]
        raise CheckpointError(f"{folder}: expected a run or a controller, found no checkpoint")
    assert task is not None, "neither task nor run"
    shipped = shipped_controllers()
    if task in shipped:
        return shipped[task]
    name = canonical_name(task)
    if name not in shipped:
        task_info(name)  # a mistake in the name of a file's function is told as that
        raise CheckpointError(
            f"{unknown('shipped controller', name, shipped)}. "
            f"Train one with: wmrobot train {name} profile=nano"
        )
    return shipped[name]


def locate_controller(name: str) -> Path:
    """Folder of a controller that is named by its task, or by a folder as `find_controller` takes.

    Raises:
        CheckpointError: There is none.
    """
    is_folder = user_path(name).is_dir()
    if not is_folder and os.sep in name and ".py" not in name:
        raise CheckpointError(f"{name}: expected a run or a controller, found no such folder")
    return find_controller(task=None if is_folder else name, run=name if is_folder else None)


def checkpoint_folders(run: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first.

    One that was being replaced when its process died (see `replace_folder`) counts, before the one
    that took its place.
    """
    found = [p.parent for p in (run / "checkpoints").glob("*/manifest.json")]
    named = {path: path.name.removesuffix(REPLACED) for path in found}
    finished = [path for path, name in named.items() if name.isdigit()]
    return sorted(finished, key=lambda path: (named[path], path.name == named[path]))


def check_card(
    card: Card,
    folder: Path,
    *,
    task: str | None,
    render: RenderMode | None = None,
    force: bool = False,
) -> Card:
    """Refuse a controller for another task than `task`, or for other pictures than `render`.

    Returns:
        The card; where a user's file has moved, with its new place.

    Raises:
        CheckpointError: It was made for something else.
    """
    if task is not None and folder != shipped_controllers().get(task):
        name = name_of_own(task, card.task.name, folder, "controller")
        card = replace(card, task=replace(card.task, name=name))
    if render is None or render == card.render or card.obs == "state":
        return card
    if not force:
        raise CheckpointError(
            f"{folder}: trained with render={card.render}, got render={render}; "
            "add allow_render=true to do it all the same"
        )
    return replace(card, render=render)


def load_controller(
    name: str, *, device: str = "auto", seed: int = 0, planner: PlannerConfig | None = None
) -> Controller:
    """A trained controller, ready to act.

    Args:
        name: Task with a shipped controller, folder of a run, or folder of a controller.
        device: auto, cpu, cuda or mps.
        seed: Of the planner's random stream.
        planner: Planner to use instead of the one it was trained with.

    Raises:
        CheckpointError: There is none, or it is altered.
    """
    folder = locate_controller(name)
    where = pick_device(device)
    model, card = read_controller(folder, where)
    return make_controller(model.eval(), card, make_generator(seed, "controller", where), planner)
