"""The calls of a run, made once before it on blank data, so that all compiling is over with.

Everything is afterwards as it was: weights, optimisers, random streams.
"""

import torch

from wmrobot.app.compiling import Compilation
from wmrobot.app.controllers import Card, make_controller
from wmrobot.core.random import make_generator
from wmrobot.core.spec import TaskSpec
from wmrobot.data.batch import Batch
from wmrobot.data.memory import TORCH_DTYPE
from wmrobot.data.plans import PlannedAction
from wmrobot.learn.learner import Learner


def rehearse(
    compilation: Compilation,
    learner: Learner,
    card: Card,
    spec: TaskSpec,
    *,
    batch_size: int,
    robots: set[int],
) -> None:
    """Compile an update, and plans for several numbers of robots.

    Args:
        compilation: Does nothing where it is off.
        learner: What will learn.
        card: What the controller is made for.
        spec: Facts of the task, with all that training sees.
        batch_size: Subsequences in one update.
        robots: Numbers of robots that will plan together.
    """
    device = learner.generator.device
    depth = card.model.frame_stack if "rgb" in card.task.obs_shapes else 1
    batch = _blank_batch(spec, card.planner.horizon, batch_size, depth, device)
    if learner.cfg.prior_from == "plan":
        batch = batch._replace(plan=PlannedAction(batch.action, torch.ones_like(batch.action)))

    def plan() -> None:
        for count in sorted(robots):
            generator = make_generator(0, "rehearsal", device)
            controller = make_controller(learner.model, card, generator, compiler=compilation)
            for _ in range(2):  # the second plan starts from what the first has made
                controller.act(card.task.blank_obs(count))

    compilation.rehearse(lambda: _update(learner, batch), plan)


def _update(learner: Learner, batch: Batch) -> None:
    weights = {name: value.clone() for name, value in learner.model.state_dict().items()}
    before = learner.state()
    try:
        learner.update(batch)
    finally:  # also where a compiler has failed amid it
        learner.model.load_state_dict(weights)
        learner.load_state(before)


def _blank_batch(
    spec: TaskSpec, horizon: int, size: int, frame_stack: int, device: torch.device
) -> Batch:
    lead = (horizon + 1, size)
    obs = {
        name: torch.zeros(
            *lead, shape[0] * (frame_stack if name == "rgb" else 1), *shape[1:],
            dtype=TORCH_DTYPE[name], device=device,
        )
        for name, shape in spec.obs_shapes.items()
    }  # fmt: skip
    zeros = torch.zeros(horizon, size, device=device)
    action = torch.zeros(horizon, size, spec.action_dim, device=device)
    return Batch(obs, action, zeros, zeros.clone(), torch.ones_like(zeros))
