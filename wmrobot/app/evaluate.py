"""`wmrobot evaluate`: whole episodes of a trained controller, or of what it is compared with."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wmrobot.app.controllers import Card, check_card, find_controller, read_controller
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.output import emit, output_folder
from wmrobot.app.rollout import Rollout, evaluate
from wmrobot.app.run_folder import provenance
from wmrobot.control.agents import AgentKind
from wmrobot.core.errors import ConfigError, DataError
from wmrobot.data.episodes import write_episode
from wmrobot.envs.task import RenderMode


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `evaluate`.

    Attributes:
        task: Task whose shipped controller to evaluate.
        run: Run, checkpoint or controller to evaluate instead.
        agent: Who drives: trained (the planner), prior (policy prior alone), zero, random, or
            shuffled (the planner, its learned dynamics shuffled).
        episodes: Episodes, run side by side.
        seed: Of the environments and of the planner's noise.
        render: How pictures are drawn: exact, near, fast or ray; another way than it was trained
            with needs `allow_render`.
        allow_render: Evaluate with pictures that it was not trained with.
        save_episodes: Folder to write the episodes to, for `train data=`.
        workers: Processes for the environments; 0 steps them in this process.
        device: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes OMP_NUM_THREADS, or every core.
    """

    task: str | None = None
    run: str | None = None
    agent: AgentKind = "trained"
    episodes: int = 10
    seed: int = 0
    render: RenderMode | None = None
    allow_render: bool = False
    save_episodes: str | None = None
    workers: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.task is None and self.run is None:
            raise ConfigError("evaluate: expected a task or run=<folder>, got neither")
        if self.episodes < 1:
            raise ConfigError(f"episodes: expected at least 1, got {self.episodes}")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: expected at least 0, got {getattr(self, name)}")


def run(cfg: Config, *, json: bool) -> int:
    """Evaluate and print."""
    episodes = None
    if cfg.save_episodes is not None:
        episodes = output_folder("save_episodes", cfg.save_episodes)
        if any(episodes.glob(f"episode-{cfg.seed}-*.safetensors")):
            raise DataError(
                f"save_episodes: {episodes} holds episodes of seed {cfg.seed} already; choose "
                "another folder or seed="
            )
    device = pick_device(cfg.device)
    threads = set_threads(cfg.threads)
    keep_freed_memory()
    folder = find_controller(task=cfg.task, run=cfg.run)
    model, card = read_controller(folder, device)
    card = check_card(card, folder, task=cfg.task, render=cfg.render, force=cfg.allow_render)
    rollout = evaluate(
        model.eval(),
        card,
        episodes=cfg.episodes,
        seed=cfg.seed,
        agent=cfg.agent,
        workers=cfg.workers,
        record=episodes is not None,
    )
    for index, episode in enumerate(rollout.recorded):
        assert episodes is not None
        name = f"episode-{cfg.seed}-{index:05d}.safetensors"
        write_episode(episodes / name, episode, card.task)
    if json:
        where = {"folder": str(folder), "device": str(device), "threads": threads}
        emit({**summarise(card, cfg.agent, cfg.seed, rollout), **where, **provenance()})
    else:
        print_table(card, cfg.agent, rollout)
    return 0


def summarise(card: Card, agent: AgentKind, seed: int, rollout: Rollout) -> dict[str, Any]:
    """Figures of an evaluation, as JSON."""
    rewards = [episode.reward for episode in rollout.episodes]
    return {
        "task": card.task.name,
        "agent": agent,
        "seed": seed,
        "episodes": [vars(episode) for episode in rollout.episodes],
        "mean_reward": rollout.mean_reward,
        "std_reward": float(np.std(rewards)),
        "success_rate": rollout.success_rate,
        "act_ms": {
            f"p{q}": float(np.percentile(rollout.act_ms, q)) for q in (50, 95, 99)
        } | {"batch": len(rollout.episodes)},
    }  # fmt: skip


def print_table(card: Card, agent: AgentKind, rollout: Rollout) -> None:
    """One line an episode, and the mean."""
    print(f"{card.task.name}, agent={agent}")
    print("episode   return  decisions  ended")
    for index, episode in enumerate(rollout.episodes):
        ended = "terminated" if episode.terminated else "time"
        ended += ", success" if episode.success else ""
        print(f"{index:7d}  {episode.reward:7.1f}  {episode.length:9d}  {ended}")
    rewards = [episode.reward for episode in rollout.episodes]
    p50, p99 = np.percentile(rollout.act_ms, (50, 99))
    print(
        f"   mean  {np.mean(rewards):7.1f}, std {np.std(rewards):.1f} over {len(rewards)} "
        f"episodes; {len(rewards)} robots planned together in p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
