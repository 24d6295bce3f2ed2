"""`wmrobot demo`: watch a robot being driven; without a task, the whole tour."""

import numpy as np

from wmrobot.app.controllers import check_card, find_controller, read_controller
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.output import output_folder
from wmrobot.app.showing.episode import Drive, drive, film
from wmrobot.app.showing.mujoco_viewer import live_view
from wmrobot.app.showing.settings import DemoConfig as Config
from wmrobot.app.showing.stage import build_driver, open_env
from wmrobot.app.showing.video import write_episode
from wmrobot.core.clock import SystemClock
from wmrobot.core.errors import TaskError
from wmrobot.core.spec import file_name


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
    name = file_name(card.task.name)
    with open_env(card, cfg.seed) as env:
        out = output_folder("out", cfg.out or f"runs/demo-{name}")
        print(f"{name} at {1 / card.task.control_dt:.0f} Hz, agent={cfg.agent}, {folder}")
        agent = build_driver(model.eval(), card, cfg.agent, cfg.seed, cfg.compile)
        for index in range(cfg.episodes):
            with live_view(env, enabled=cfg.view) as on_step:
                episode = drive(agent, env, clock=SystemClock(), keep_states=True, on_step=on_step)
            print(describe(episode))
            path = out / f"{name}-{cfg.agent}-{index}.mp4"
            try:
                write_episode(path, film(episode, env, title=f"{name}, {cfg.agent}"))
                print(f"  film: {path}")
            except TaskError as error:  # a task from elsewhere need not be drawable
                print(f"  no film: {error}")
    return 0


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
