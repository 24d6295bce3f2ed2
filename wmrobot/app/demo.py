"""`wmrobot demo`: watch a robot being driven; without a task, the whole tour."""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from wmrobot.app.controllers import Card, find_controller, make_controller, read_controller
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.drive import Drive, drive, film
from wmrobot.app.evaluate import check_card
from wmrobot.app.output import output_folder
from wmrobot.app.video import write_episode
from wmrobot.app.viewer import live_view
from wmrobot.control.agents import AgentKind, make_agent
from wmrobot.control.controller import Agent
from wmrobot.core.clock import SystemClock
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_generator, make_numpy_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `demo`.

    Attributes:
        task: Task whose shipped controller drives; without task and run, the whole tour: drive the
            Qube with the shipped controller, train cartpole-swingup, drive what was learned.
        run: Run, checkpoint or controller that drives instead.
        agent: Who drives: trained (the planner), prior (policy prior alone), zero, random, or
            shuffled (the planner, its learned dynamics shuffled).
        episodes: Episodes to drive.
        seed: Of the environment and of the planner's noise; of the training in the tour.
        out: Folder for films and pages; null takes runs/demo (tour) or runs/demo-<task>.
        view: Open MuJoCo's viewer, where there is a display.
        steps: Decisions that the tour trains for; null takes the profile's.
        setup_s: Seconds that installing took, told by make.
        device: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes every core.
    """

    task: str | None = None
    run: str | None = None
    agent: AgentKind = "trained"
    episodes: int = 1
    seed: int = 1
    out: str | None = None
    view: bool = False
    steps: int | None = None
    setup_s: float | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"episodes: expected at least 1, got {self.episodes}")
        if self.task is not None or self.run is not None:
            if self.steps is not None:
                raise ConfigError("steps: expected no task or run= with it; only the tour trains")
        elif (self.agent, self.episodes, self.view) != ("trained", 1, False):
            raise ConfigError(
                "agent, episodes, view: expected a task or run= with them; the tour has its own"
            )
        on_linux = sys.platform.startswith("linux")
        if self.view and on_linux and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            raise ConfigError(
                "view: expected a display, but neither DISPLAY nor WAYLAND_DISPLAY is set; "
                "leave it out and look at the films that are written"
            )


def run(cfg: Config, *, json: bool = False) -> int:
    """Drive one controller, or give the whole tour."""
    device = pick_device(cfg.device)
    set_threads(cfg.threads)
    keep_freed_memory()
    if cfg.task is None and cfg.run is None:
        from wmrobot.app.tour import give_tour

        return give_tour(cfg, device)
    folder = find_controller(task=cfg.task, run=cfg.run)
    model, card = read_controller(folder, device)
    card = check_card(card, folder, task=cfg.task)
    name = card.task.name.rpartition("/")[2].replace(":", "-")
    out = output_folder("out", cfg.out or f"runs/demo-{name}")
    print(f"{card.task.name} at {1 / card.task.control_dt:.0f} Hz, agent={cfg.agent}, {folder}")
    with open_env(card, cfg.seed) as env:
        agent = build_agent(model.eval(), card, cfg.agent, cfg.seed)
        for index in range(cfg.episodes):
            with live_view(env, enabled=cfg.view) as on_step:
                episode = drive(agent, env, clock=SystemClock(), keep_states=True, on_step=on_step)
            print(describe(episode))
            path = out / f"{name}-{cfg.agent}-{index}.mp4"
            write_episode(path, film(episode, env, title=f"{name}, {cfg.agent}"))
            print(f"  film: {path}")
    return 0


def open_env(card: Card, seed: int) -> VectorEnv:
    """One environment as the controller knows it."""
    env_seed = derive_seed(seed, "demonstration")
    return VectorEnv(card.task.name, 1, seed=env_seed, **card.env_options())


def build_agent(model: WorldModel, card: Card, kind: AgentKind, seed: int) -> Agent:
    """Who drives."""
    device: torch.device = next(model.parameters()).device
    controller = make_controller(model, card, make_generator(seed, "demonstration", device))
    return make_agent(kind, controller, make_numpy_generator(seed, "random agent"))


def describe(episode: Drive) -> str:
    """One line of an episode's figures."""
    p50, p99 = np.percentile(episode.act_ms, (50, 99))
    upright = "" if episode.upright_s is None else f", upright {episode.upright_s:.1f} s"
    ended = ", terminated" if episode.terminated else ""
    success = ", success" if episode.success else ""
    return (
        f"  return {episode.rewards.sum():.1f} in {len(episode.rewards)} decisions{upright}{ended}"
        f"{success}; planning p50 {p50:.1f} ms, p99 {p99:.1f} ms, {episode.late} ticks late"
    )
