"""Timings of the planner and of the learner, on a task's sizes and with fresh inputs each call."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from wmrobot.app.benchmarking.flops import (
    RowCost,
    necessary_plan_flops,
    plan_flops,
    row_cost,
    update_flops,
)
from wmrobot.app.benchmarking.timing import Case, Timing, measure
from wmrobot.app.compiling import Compilation
from wmrobot.app.training.settings import TrainConfig
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import Obs, Step, TaskSpec
from wmrobot.core.types import PlanNoise
from wmrobot.data.batch import Batch
from wmrobot.data.memory import memory_budget
from wmrobot.data.replay import Replay
from wmrobot.envs.registry import make_env
from wmrobot.learn.learner import Learner
from wmrobot.model.world_model import WorldModel
from wmrobot.nn.activations import simnorm
from wmrobot.nn.stacked import INIT_STD
from wmrobot.plan.config import widen
from wmrobot.plan.noise import draw_noise, empty_plan
from wmrobot.plan.planner import make_planner

_COLUMNS, _ROWS = 100, 100  # of the replay that updates draw from: 10,000 decisions


class Subject:
    """An untrained model of a task's sizes, and all that is needed to time it.

    What a call costs does not depend on the values of the weights, with one exception: returns that
    are all equal make the choice of elites too easy, so the heads that start at zero do not here.

    Args:
        cfg: Task, sizes and seed.
        device: Where the model lives.
    """

    def __init__(self, cfg: TrainConfig, device: torch.device) -> None:
        self.device, self.spec = device, _spec(cfg)
        planner = widen(
            cfg.planner,
            action_dim=self.spec.action_dim,
            extra_iterations=cfg.extra_iterations,
        )
        self.cfg = replace(cfg, planner=planner)
        updates = cfg.steps * cfg.updates_per_decision
        self.compilation = Compilation(cfg.compile, device, updates)
        torch.manual_seed(derive_seed(cfg.seed, "weights"))
        model = WorldModel(
            cfg.model,
            obs_shapes=self.spec.obs_shapes,
            action_dim=self.spec.action_dim,
            discount=cfg.learner.discount(self.spec.episode_decisions),
            episodic=self.spec.episodic,
        )
        for head in (model.reward_head, model.values.head):
            nn.init.trunc_normal_(head.weight, std=INIT_STD)
        self.model = model.to(device)
        self.numpy_generator = make_numpy_generator(cfg.seed, "bench")
        self.generator = make_generator(cfg.seed, "bench", device)

    @property
    def cost(self) -> RowCost:
        """Multiply-adds of its networks."""
        return row_cost(
            self.cfg.model,
            obs_shapes=self.spec.obs_shapes,
            action_dim=self.spec.action_dim,
            episodic=self.spec.episodic,
        )

    def draw_obs(self, batch: int) -> Obs:
        """Observations of `batch` robots."""
        generator = self.numpy_generator
        return {
            name: generator.standard_normal((batch, *shape), dtype=np.float32)
            if len(shape) == 1
            else generator.integers(256, size=(batch, *shape), dtype=np.uint8)
            for name, shape in self.spec.obs_shapes.items()
        }

    def draw_action(self, batch: int) -> np.ndarray:
        """Actions of `batch` robots."""
        shape = (batch, self.spec.action_dim)
        return self.numpy_generator.uniform(-1, 1, shape).astype(np.float32)

    def shape(self, batch: int) -> dict[str, int | str]:
        """Sizes of a case."""
        sizes: dict[str, int | str] = {"task": self.spec.name, "B": batch}
        sizes["H"] = self.cfg.planner.horizon
        for name, shape in self.spec.obs_shapes.items():
            sizes[f"O_{name}"] = shape[0] if len(shape) == 1 else "x".join(map(str, shape))
        return sizes | {
            "A": self.spec.action_dim,
            "Z": self.cfg.model.latent_dim,
            "width": self.cfg.model.mlp_dim,
            "M": self.cfg.model.num_bins,
            "Q": self.cfg.model.num_q,
            "precision": self.cfg.model.precision,
            "compiled": str(self.compilation.on).lower(),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }


def _spec(cfg: TrainConfig) -> TaskSpec:
    """Facts of the task; the environment is built for them and closed again."""
    with closing(
        make_env(
            cfg.task,
            seed=cfg.seed,
            obs=cfg.obs,
            cameras=cfg.cameras,
            render=cfg.render,
            image_size=cfg.image_size,
        )
    ) as env:
        return env.task_spec


def plan_cases(subject: Subject, batches: tuple[int, ...], seconds: float) -> Iterator[Case]:
    """`Controller.act` from observation to action, then the planner function alone.

    Where memory does not do for so many robots, they are left out, and it says so.

    Args:
        subject: What plans.
        batches: Robots that plan together.
        seconds: Budget of one case [s].
    """
    for batch in batches:
        try:
            cases = list(_plans(subject, batch, seconds))
        except torch.OutOfMemoryError:
            print(f"warning: no memory for {batch} robots: left out", file=sys.stderr)
            torch.cuda.empty_cache()
            continue
        yield from cases


def _plans(subject: Subject, batch: int, seconds: float) -> Iterator[Case]:
    """Plans of one number of robots."""
    planner = subject.cfg.planner
    shape = subject.shape(batch) | {
        "planner": planner.kind,
        "I": planner.iterations,
        "N": planner.num_samples,
        "P": planner.num_prior,
        "K": planner.num_elites,
    }
    cost, encode = subject.cost, 2 * batch * subject.cost.encode
    for name, clock in (("act", _time_act), ("plan", _time_plan)):
        saved = 0 if name == "act" else encode  # the planner alone is handed the latent
        yield Case(
            part="plan",
            name=name,
            shape=shape,
            timing=clock(subject, batch, seconds),
            unit="plans",
            per_call=batch,
            flops=plan_flops(cost, planner, batch) - saved,
            necessary_flops=necessary_plan_flops(cost, planner, batch) - saved,
        )


def _time_act(subject: Subject, batch: int, seconds: float) -> Timing:
    """From observations on the host to actions on the host."""
    controller = Controller(
        subject.model,
        subject.cfg.planner,
        obs_shapes=subject.spec.obs_shapes,
        action_dim=subject.spec.action_dim,
        num_q=subject.cfg.model.num_q,
        frame_stack=subject.cfg.model.frame_stack,
        generator=subject.generator,
        compiler=subject.compilation,
    )
    return measure(
        lambda: subject.draw_obs(batch), controller.act, seconds=seconds, device=subject.device
    )


@torch.no_grad()
def _time_plan(subject: Subject, batch: int, seconds: float) -> Timing:
    """The planner function alone, from latents and noise on the device."""
    model, cfg, generator = subject.model, subject.cfg, subject.generator
    planner = subject.compilation(make_planner(cfg.planner))
    action_dim = subject.spec.action_dim
    plan = empty_plan(cfg.planner, batch=batch, action_dim=action_dim, device=subject.device)

    def draw() -> tuple[Tensor, PlanNoise]:
        z = torch.randn(batch, cfg.model.latent_dim, generator=generator, device=subject.device)
        noise = draw_noise(
            cfg.planner,
            batch=batch,
            action_dim=action_dim,
            num_q=cfg.model.num_q,
            generator=generator,
        )
        return simnorm(z, cfg.model.simnorm_dim), noise

    def search(inputs: tuple[Tensor, PlanNoise]) -> None:
        nonlocal plan
        z, noise = inputs
        plan = planner(model, z, plan, noise)

    return measure(draw, search, seconds=seconds, device=subject.device)


def update_cases(subject: Subject, seconds: float) -> Iterator[Case]:
    """`Replay.sample` (with the way to the device), then `Learner.update` on fresh batches.

    Args:
        subject: What learns.
        seconds: Budget of one case [s].
    """
    cfg, horizon = subject.cfg, subject.cfg.planner.horizon
    size = cfg.learner.batch_size
    replay, generator = _filled_replay(subject), subject.numpy_generator
    learner = Learner(subject.model, cfg.learner, subject.generator, subject.compilation)
    flops = update_flops(subject.cost, num_q=cfg.model.num_q, horizon=horizon, batch_size=size)

    def sample() -> Batch:
        return replay.sample(generator, size).to(subject.device)

    shape = subject.shape(size)
    timing = measure(lambda: None, lambda _: sample(), seconds=seconds, device=subject.device)
    yield Case(part="update", name="sample", shape=shape, timing=timing, unit="batches")
    yield Case(
        part="update",
        name="update",
        shape=shape,
        timing=measure(sample, learner.update, seconds=seconds, device=subject.device),
        unit="updates",
        flops=flops,
        necessary_flops=flops,
    )


def _filled_replay(subject: Subject) -> Replay:
    """Memory of random decisions, no episode ending in it."""
    cfg = subject.cfg
    replay = Replay(
        obs_shapes=subject.spec.obs_shapes,
        action_dim=subject.spec.action_dim,
        num_envs=_COLUMNS,
        capacity=_COLUMNS * _ROWS,
        horizon=cfg.planner.horizon,
        frame_stack=cfg.model.frame_stack,
        device=subject.device if cfg.replay.storage == "device" else "cpu",
        budget_bytes=memory_budget(cfg.replay, subject.device),
        keep_plans=cfg.learner.prior_from == "plan",
    )
    replay.start(subject.draw_obs(_COLUMNS))
    never = np.zeros(_COLUMNS, dtype=np.bool_)
    for _ in range(max(_ROWS, 2 * cfg.planner.horizon)):
        reward = subject.numpy_generator.random(_COLUMNS, dtype=np.float32)
        obs = subject.draw_obs(_COLUMNS)
        step = Step(obs=obs, reward=reward, terminated=never, truncated=never, final_obs=obs)
        replay.add(subject.draw_action(_COLUMNS), step)
    return replay
