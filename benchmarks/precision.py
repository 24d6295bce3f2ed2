"""What bf16 products do to plans of trained controllers: `python benchmarks/precision.py`.

Words are tasks with a shipped controller, which drives its task. At every third state three plans
start alike: in fp32, in bf16 on the same noise, and in fp32 on other noise. The mean of each is
valued by the fp32 model, whose value heads are averaged. Prints one JSON document; differences are
to the first plan.
"""

import copy
import json
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmrobot.app.benchmarking.report import machine
from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.controllers import find_controller, make_controller, read_controller
from wmrobot.control.controller import to_tensors
from wmrobot.core.random import make_generator
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel
from wmrobot.nn.stacked import Linear, StackedLinear
from wmrobot.plan.noise import draw_noise, empty_plan
from wmrobot.plan.planner import make_planner
from wmrobot.plan.search import imagine_candidates, score

CPU = torch.device("cpu")
STATES, EVERY = 50, 3  # states planned from, decisions between them


def in_bf16(model: WorldModel) -> WorldModel:
    """The same weights, multiplied in bf16 where `model.precision=bf16` does."""
    low = copy.deepcopy(model)
    encoding = set(low.encoder.modules())
    for module in low.modules():
        if isinstance(module, Linear | StackedLinear) and module not in encoding:
            module.precision = "bf16"
    return low


def value(model: WorldModel, z: Tensor, mean: Tensor) -> float:
    """Return that the model expects of a plan's mean (1, H, A) from z (1, Z)."""
    imagined = imagine_candidates(
        model, z, mean.unsqueeze(1), torch.zeros_like(mean[:, :1]), value_lambda=1.0
    )
    return float(score(model, imagined, torch.arange(model.cfg.num_q)))


@torch.no_grad()
def compare(task: str) -> dict[str, Any]:
    """Differences of plans along episodes of a task."""
    model, card = read_controller(find_controller(task=task, run=None), CPU)
    low, planner = in_bf16(model.eval()), make_planner(card.planner)
    driver = make_controller(model, card, make_generator(0, "driver"))
    generator, action_dim = make_generator(0, "noise"), card.task.action_dim
    start = empty_plan(card.planner, batch=1, action_dim=action_dim, device=CPU)
    rows: list[list[float]] = []
    with closing(VectorEnv(task, 1, seed=0)) as env:
        obs = env.reset()
        for step in range(STATES * EVERY):
            if step % EVERY == 0:
                noise, other = (
                    draw_noise(
                        card.planner,
                        batch=1,
                        action_dim=action_dim,
                        num_q=card.model.num_q,
                        generator=generator,
                    )
                    for _ in range(2)
                )
                z = model.encode(to_tensors(obs, CPU))
                plans = [planner(model, z, start, noise), planner(low, z, start, noise)]
                plans.append(planner(model, z, start, other))
                values = [value(model, z, plan.mean) for plan in plans]
                first = plans[0].mean[:, 0]
                apart = [float((plan.mean[:, 0] - first).abs().mean()) for plan in plans]
                rows.append([*values, *apart[1:]])
            obs = env.step(driver.act(obs)).obs
    table = np.asarray(rows)
    bf16, reseeded = table[:, 1] - table[:, 0], table[:, 2] - table[:, 0]
    return {
        "task": task,
        "states": len(table),
        "value_mean": table[:, 0].mean(),
        "bf16_difference_mean": bf16.mean(),
        "bf16_difference_std": bf16.std(),
        "reseeded_difference_mean": reseeded.mean(),
        "reseeded_difference_std": reseeded.std(),
        "bf16_action_apart_mean": table[:, 3].mean(),
        "reseeded_action_apart_mean": table[:, 4].mean(),
    }


def main(tasks: list[str]) -> None:
    """Compare on every task that is named."""
    torch.set_num_threads(1)
    made = machine(CPU, 1)
    results = [compare(task) for task in tasks or ["cartpole-swingup", "walker-walk"]]
    print(json.dumps({"made": made, "results": results}, indent=1))


if __name__ == "__main__":
    run_script(main, __doc__)
