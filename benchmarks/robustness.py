"""What a Qube's controllers earn where the robot is another than they were trained on.

    python benchmarks/robustness.py qube2-swingup qube2-swingup-robust [run folder ...]

Each controller drives the nominal robot with one thing changed, and the draws of
`qube2-swingup-robust`, the same ones for each. Prints one JSON document: mean return (of 300) and
share of the episodes that end in success (upright for the last 3 s).
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.controllers import find_controller, read_controller
from wmrobot.app.device import keep_freed_memory
from wmrobot.app.rollout import evaluate
from wmrobot.envs.registry import task_info
from wmrobot.envs.task import ParameterRange, Randomization

EPISODES, DRAWS, SEED = 20, 100, 2000
NOMINAL = Randomization(previous_actions=2)
DELAYS = (0, 1, 2, 3)  # [decisions] of 20 ms
NOISES = (0.0, 0.01, 0.03, 0.1)  # of every entry of the state
MASSES = (0.7, 0.85, 1.0, 1.15, 1.3)  # of arm and pole, as a factor
FRICTIONS = (5e-6, 1e-4, 3e-4, 1e-3)  # of the arm [N m s/rad]


def fixed(target: str, value: float, *, scale: bool = False) -> ParameterRange:
    """A parameter that is no range."""
    return ParameterRange(target=target, low=value, high=value, scale=scale)


def cases() -> Iterator[tuple[str, float, Randomization, int]]:
    """What is changed, to what, how, and over how many episodes."""
    for delay in DELAYS:
        yield "delay", delay, replace(NOMINAL, action_delay=(delay, delay)), EPISODES
    for noise in NOISES:
        yield "noise", noise, replace(NOMINAL, obs_noise_std=noise), EPISODES
    for factor in MASSES:
        both = tuple(fixed(f"body_mass[{body}]", factor, scale=True) for body in ("arm", "pole"))
        yield "mass", factor, replace(NOMINAL, parameters=both), EPISODES
    for friction in FRICTIONS:
        arm = (fixed("dof_damping[arm_hinge]", friction),)
        yield "friction", friction, replace(NOMINAL, parameters=arm), EPISODES
    yield "draws", DRAWS, task_info("qube2-swingup-robust").randomization, DRAWS


def measure(name: str) -> list[dict[str, Any]]:
    """One controller in every case; `name` is a shipped one's or the folder of a run."""
    is_run = Path(name).is_dir()
    folder = find_controller(task=None if is_run else name, run=name if is_run else None)
    model, card = read_controller(folder, torch.device("cpu"))
    found = []
    for what, value, differences, episodes in cases():
        changed = replace(card, randomization=differences)
        rollout = evaluate(model.eval(), changed, episodes=episodes, seed=SEED)
        found.append(
            {
                "controller": card.task.name, "changed": what, "value": value,
                "episodes": episodes,
                "return": round(float(np.mean([e.reward for e in rollout.episodes])), 1),
                "success": sum(e.success for e in rollout.episodes) / episodes,
            }
        )  # fmt: skip
        print(found[-1], file=sys.stderr)
    return found


def main(names: list[str]) -> None:
    """Measure every controller that is named."""
    keep_freed_memory()
    found = [row for name in names or ["qube2-swingup"] for row in measure(name)]
    made = {"cores": os.cpu_count(), "seed": SEED}
    print(json.dumps({"case": "robustness", "made": made, "found": found}, indent=2))


if __name__ == "__main__":
    run_script(main, __doc__)
