"""What a picture encoder learns from random decisions: standardised, shifted, told the state.

    python benchmarks/encoder.py [task] [updates]

Fills a replay with 5,000 decisions of four robots, pictures and states, and lets profile `nano`
learn from the pictures. Where it is told the state (`learner.state_coef=10`), training sees that
too, and the encoder learns as fast as the rest (`learner.enc_lr_scale=1`). Prints one JSON
document, for every 250 updates: how much the latents of different moments differ (mean standard
deviation), how much of the reward the model predicts, and how much of each entry of the state a
linear probe finds in the latent (R^2; of 1,500 moments drawn, 500 are held out from the probe).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from wmrobot.app.benchmarking.report import machine
from wmrobot.app.benchmarking.script import run_script
from wmrobot.app.config import load
from wmrobot.app.device import keep_freed_memory
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.random import make_generator
from wmrobot.core.spec import TaskSpec
from wmrobot.data.replay import Replay
from wmrobot.envs.vector import VectorEnv
from wmrobot.learn.diagnostics import linear_probe
from wmrobot.learn.learner import Learner
from wmrobot.model.world_model import WorldModel

CPU = torch.device("cpu")
DECISIONS, ROBOTS, HELD = 5_000, 4, 5  # each action is held for so many decisions
EVERY, DRAWN, PROBED = 250, 1_500, 1_000
SIZE, BATCH = 48, 64
# standardised, largest shift [pixels], told the state
WAYS = ((False, 3, False), (True, 3, False), (True, 0, False), (True, 3, True), (True, 0, True))


def fill(cfg: TrainConfig) -> tuple[Replay, TaskSpec]:
    """Random decisions, seen both ways."""
    random = np.random.default_rng(0)
    with VectorEnv(
        cfg.task, ROBOTS, seed=3, obs="state+rgb", render=cfg.render, image_size=SIZE
    ) as env:
        spec = env.task_spec
        replay = Replay(
            obs_shapes=spec.obs_shapes,
            action_dim=spec.action_dim,
            num_envs=ROBOTS,
            capacity=DECISIONS,
            horizon=cfg.planner.horizon,
            frame_stack=cfg.model.frame_stack,
        )
        replay.start(env.reset())
        action = np.zeros((ROBOTS, spec.action_dim), np.float32)
        for k in range(DECISIONS // ROBOTS):
            if k % HELD == 0:
                action = random.uniform(-1, 1, action.shape).astype(np.float32)
            replay.add(action, env.step(action))
    return replay, spec


@torch.no_grad()
def judge(model: WorldModel, replay: Replay) -> dict[str, Any]:
    """What the latents hold, on moments drawn with a seed of their own."""
    batch = replay.sample(np.random.default_rng(9), DRAWN)
    z = model.encode({"rgb": batch.obs["rgb"][0]})
    _, logits = model.predict(z, batch.action[0])
    missed = (model.two_hot.decode(logits) - batch.reward[0]).square().mean()
    latent, state = z.double().numpy(), batch.obs["state"][0].double().numpy()
    probe = linear_probe(latent[:PROBED], state[:PROBED], latent[PROBED:], state[PROBED:])
    return {
        "latent_std": float(f"{z.std(dim=0).mean():.3g}"),
        "reward_r2": round(1 - float(missed / batch.reward[0].var(unbiased=False)), 3),
        "probe_r2": probe.round(3).tolist(),
    }


def learn(
    cfg: TrainConfig,
    replay: Replay,
    spec: TaskSpec,
    updates: int,
    *,
    standardised: bool,
    max_shift: int,
    told: bool,
) -> Iterator[dict[str, Any]]:
    """Learn, and tell now and then what came of it."""
    torch.manual_seed(0)
    model = WorldModel(
        cfg.model,
        obs_shapes={"rgb": spec.obs_shapes["rgb"]},
        action_dim=spec.action_dim,
        discount=cfg.learner.discount(spec.episode_decisions),
        episodic=False,
    )
    learner_cfg = replace(cfg.learner, max_shift=max_shift)
    if told:
        learner_cfg = replace(learner_cfg, state_coef=10.0, enc_lr_scale=1.0)
    (state_dim,) = spec.obs_shapes["state"]
    generator = make_generator(0, "learner")
    learner = Learner(model, learner_cfg, generator, state_dim=state_dim if told else None)
    learner.look(replay.sample(np.random.default_rng(2), 256).obs, pictures=standardised)
    random = np.random.default_rng(1)
    for k in range(1, updates + 1):
        learner.update(replay.sample(random, BATCH))
        if k % EVERY == 0:
            way = {"standardised": standardised, "max_shift": max_shift, "told": told}
            yield {**way, "updates": k, **judge(model, replay)}


def main(words: list[str]) -> int:
    """Every way, one after the other."""
    task = words[0] if words else "cartpole-swingup"
    updates = int(words[1]) if len(words) > 1 else 2 * EVERY
    keep_freed_memory()
    made = machine(CPU, torch.get_num_threads())
    cfg = load(TrainConfig, [f"task={task}", "profile=nano", "obs=rgb", f"batch_size={BATCH}"])
    replay, spec = fill(cfg)
    rows = [
        row
        for standardised, max_shift, told in WAYS
        for row in learn(
            cfg, replay, spec, updates, standardised=standardised, max_shift=max_shift, told=told
        )
    ]
    shape = {"image_size": SIZE, "batch_size": BATCH, "decisions": DECISIONS}
    print(json.dumps({"kind": "encoder", "made": made, "task": task, "shape": shape,
                      "rows": rows}, indent=1))  # fmt: skip
    return 0


if __name__ == "__main__":
    run_script(main, __doc__)
