"""What an evaluation of a run tells beside its return; `wmrobot report` looks closer."""

import torch

from wmrobot.control.controller import Controller
from wmrobot.core.random import make_numpy_generator
from wmrobot.data.replay import Replay
from wmrobot.learn.diagnostics import effective_rank, open_loop_error, plan_figures
from wmrobot.model.world_model import WorldModel

BATCH = 256


def glance(
    model: WorldModel, replay: Replay, controller: Controller, seed: int, device: torch.device
) -> dict[str, float]:
    """What an evaluation can afford to tell, from what the run lives through. Changes nothing."""
    if replay.num_samples == 0:
        return {}
    drawn = replay.sample(make_numpy_generator(seed, "diagnosis"), BATCH).to(device)
    with torch.no_grad():
        seen = model.encode(drawn.obs)
    error = open_loop_error(model, seen, drawn)
    # of all that was drawn: the rank cannot be higher than the number of latents
    figures = {"latent_rank": effective_rank(seen.flatten(0, 1)), "replay_age": replay.mean_age}
    for t, (latent, reward) in enumerate(zip(*(e.tolist() for e in error), strict=True), start=1):
        figures |= {f"latent_error_{t}": latent, f"reward_error_{t}": reward}
    plan = controller.last_plan
    return figures if plan is None else figures | plan_figures(plan)
