"""The whole tour in four steps: set up, drive the Qube, learn cartpole, drive what was learned."""

import shutil
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmrobot import __version__
from wmrobot.app.config import load
from wmrobot.app.controllers import Card, find_controller, read_controller
from wmrobot.app.output import output_folder
from wmrobot.app.reporting.diagnosis_page import AGENTS, curve_of
from wmrobot.app.reporting.html_page import (
    Commands,
    Figures,
    Picture,
    Section,
    Table,
    Video,
    write_report,
)
from wmrobot.app.rollout import Rollout, evaluate
from wmrobot.app.run_folder import RUN_FILE, provenance
from wmrobot.app.showing.episode import Drive, drive, film
from wmrobot.app.showing.settings import DemoConfig
from wmrobot.app.showing.stage import build_driver, open_env
from wmrobot.app.showing.video import write_episode
from wmrobot.app.train import train
from wmrobot.app.training.result import read_result
from wmrobot.app.training.run_file import read_settings
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.training.stopwatch import read_times
from wmrobot.core.clock import SystemClock
from wmrobot.core.errors import ConfigError
from wmrobot.core.files import read_json, write_json
from wmrobot.core.machine import cpu_model
from wmrobot.envs.render import choose_backend
from wmrobot.model.world_model import WorldModel

ROBOT, LESSON = "qube2-swingup", "cartpole-swingup"
LESSON_STEPS = 25_000  # fewer than the profile's: who tries this for the first time waits for it
EPISODES_EACH, LAST_EPISODES = 3, 10
# what a training leaves that was killed before it had told its settings
BEGUN = {".lock", "eval.csv", "train.csv", "timing.csv", "replay", "tensorboard", "checkpoints"}
NEXT = (
    ("wmrobot view walker-walk", "watch and push a robot in the browser, and see what it imagines"),
    ("wmrobot demo qube2-swingup agent=shuffled", "see what its learned dynamics are worth"),
    ("wmrobot train reacher-easy profile=nano", "learn another task"),
    ("wmrobot train path/to/my_robot.py:reach profile=nano", "learn on your own robot"),
    ("wmrobot evaluate qube2-swingup agent=prior", "measure what the planner is worth"),
    ("wmrobot export qube2-swingup out=bundles/qube2", "take its planner out of PyTorch"),
    ("wmrobot drive bundle=bundles/qube2", "drive with that, against the clock and behind a guard"),
    ("wmrobot tasks", "list every task"),
)


def give_tour(cfg: DemoConfig, device: torch.device) -> int:
    """Run the four steps and leave `index.html` behind."""
    begin = time.perf_counter()
    out = output_folder("out", cfg.out or "runs/demo")
    _make_room(out)
    where = _set_up(cfg, device)
    robot_table, robot_film = _drive_robot(cfg, device, out)
    run, lesson = _learn(cfg, out)
    model, card = read_controller(find_controller(task=None, run=str(run)), device)
    rollout, lesson_film = _drive_lesson(cfg, model, card, out)

    shutil.copyfile(run / "eval.csv", out / "eval.csv")
    curve = curve_of(read_result(run), card)
    (out / "curve.png").write_bytes(curve)
    returns = [episode.reward for episode in rollout.episodes]
    summary = {
        **where,
        "robot": robot_table,
        "lesson": {**lesson, "returns": returns, "mean_return": float(np.mean(returns))},
        "seconds": round(time.perf_counter() - begin, 1),
        **provenance(),
    }
    write_json(out / "summary.json", summary)
    page = out / "index.html"
    write_report(
        page,
        title="wmrobot: driven by a learned model",
        intro=f"{where['device']}, {datetime.now():%Y-%m-%d %H:%M}, wmrobot {__version__}",
        sections=_sections(summary, robot_film, curve, lesson_film),
    )
    print(f"\nlook at it: {page}\n\nwhat to try next:")
    width = max(len(command) for command, _ in NEXT)
    for command, what in NEXT:
        print(f"  {command:{width}}  {what}")
    return 0


def _make_room(out: Path) -> None:
    """Go on with an interrupted tour; move a finished one aside.

    Raises:
        ConfigError: The folder is a run, or what would become the tour's run is something else.
    """
    if (out / RUN_FILE).exists():
        raise ConfigError(f"out: expected a folder for the tour, got the run {out}")
    inside = out / "train"
    if inside.exists() and not (inside / RUN_FILE).exists():
        foreign = sorted({path.name for path in inside.iterdir()} - BEGUN)
        if foreign:
            raise ConfigError(
                f"out: {inside} holds {foreign[0]}, which is no training's; choose another out="
            )
    if (out / "summary.json").exists():
        aside = out.with_name(f"{out.name}-{datetime.now():%Y%m%d-%H%M%S}")
        out.rename(aside)
        print(f"the last tour is kept in {aside}")
    out.mkdir(parents=True, exist_ok=True)


def _set_up(cfg: DemoConfig, device: torch.device) -> dict[str, Any]:
    """Step 1: what was found."""
    renderer = choose_backend()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    took = "" if cfg.setup_s is None else f", installed in {cfg.setup_s:.0f} s"
    threads = torch.get_num_threads()
    print(f"[1/4] set-up{took}: {name}, {threads} threads, pictures by {renderer}")
    return {"setup_s": cfg.setup_s, "device": name, "threads": threads, "renderer": renderer}


def _drive_robot(
    cfg: DemoConfig, device: torch.device, out: Path
) -> tuple[list[dict[str, Any]], Path]:
    """Step 2: the shipped controller on our robot in real time, and what it is compared with."""
    model, card = read_controller(find_controller(task=ROBOT, run=None), device)
    rate = 1 / card.task.control_dt
    print(
        f"[2/4] {ROBOT}: a Quanser Qube-Servo 2, driven in real time at {rate:.0f} Hz, "
        f"{EPISODES_EACH} episodes each"
    )
    rows, path = [], out / f"{ROBOT}.mp4"
    for kind, label in AGENTS.items():
        agent = build_driver(model.eval(), card, kind, cfg.seed, cfg.compile)
        with open_env(card, cfg.seed) as env:
            agent.act(env.reset())  # the first call pays for what later ones find ready
            episodes = [
                drive(agent, env, clock=SystemClock(), keep_states=kind == "trained" and index == 0)
                for index in range(EPISODES_EACH)
            ]
            if kind == "trained":
                write_episode(path, film(episodes[0], env, title=f"{ROBOT}, {label}"))
        rows.append(_row(label, episodes))
        if len(rows) == 1:
            print("      " + _line(ROBOT_COLUMNS))
        print("      " + _line(_cells(rows[-1])))
    return rows, path


ROBOT_COLUMNS = ("agent", "return", "upright [s]", "p50 [ms]", "p99 [ms]", "ticks late")


def _row(label: str, episodes: Sequence[Drive]) -> dict[str, Any]:
    act_ms = np.concatenate([episode.act_ms for episode in episodes])
    return {
        "agent": label,
        "return": float(np.mean([episode.rewards.sum() for episode in episodes])),
        "upright_s": float(np.mean([episode.upright_s or 0.0 for episode in episodes])),
        "plan_ms_p50": float(np.percentile(act_ms, 50)),
        "plan_ms_p99": float(np.percentile(act_ms, 99)),
        "ticks": len(act_ms),
        "ticks_late": sum(episode.late for episode in episodes),
        "successes": sum(episode.success for episode in episodes),
        "episodes": len(episodes),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["agent"],
        f"{row['return']:.1f}",
        f"{row['upright_s']:.2f}",
        f"{row['plan_ms_p50']:.1f}",
        f"{row['plan_ms_p99']:.1f}",
        f"{row['ticks_late']} of {row['ticks']}",
    )


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:28}" + "".join(f"{cell:>13}" for cell in cells[1:])


def _learn(cfg: DemoConfig, out: Path) -> tuple[Path, dict[str, Any]]:
    """Step 3: train from scratch, or go on where an interrupted tour stopped."""
    run = out / "train"
    print(f"[3/4] {LESSON}: learning a world model from scratch (profile=nano, seed={cfg.seed})")
    if (run / RUN_FILE).exists() and list((run / "checkpoints").glob("*/manifest.json")):
        settings = load(TrainConfig, [f"resume={run}"])
        stored = read_settings(run)
        if stored.seed != cfg.seed or cfg.steps not in (None, stored.steps):
            raise ConfigError(
                f"out: {run} was begun with seed={stored.seed} steps={stored.steps}; say the same "
                "to go on with it, or choose another out="
            )
    else:
        shutil.rmtree(run, ignore_errors=True)
        steps = LESSON_STEPS if cfg.steps is None else cfg.steps
        words = [f"task={LESSON}", "profile=nano", f"seed={cfg.seed}", f"run={run}"]
        words += [f"steps={steps}", f"device={cfg.device}", f"threads={cfg.threads}"]
        words += [f"compile={str(cfg.compile).lower()}"]
        settings = load(TrainConfig, words)
    finished, _ = train(settings)
    if not finished:
        raise KeyboardInterrupt  # what to do now has been said
    seconds = float(read_times(run)[-1]["wall_clock_s"])  # of all its processes
    facts = read_json(run / "summary.json")
    done = f"{facts['decisions']:,} decisions and {facts['updates']:,} updates"
    print(f"      {done} in {seconds:.0f} s")
    kept = ("decisions", "updates", "collect_s", "update_s", "evaluate_s")
    return run, {"seconds": round(seconds, 1), **{name: facts[name] for name in kept}}


def _drive_lesson(
    cfg: DemoConfig, model: WorldModel, card: Card, out: Path
) -> tuple[Rollout, Path]:
    """Step 4: ten deterministic episodes of the last checkpoint, and a film of one more."""
    rollout = evaluate(model.eval(), card, episodes=LAST_EPISODES, seed=cfg.seed + 1)
    returns = [episode.reward for episode in rollout.episodes]
    print(f"[4/4] {LESSON}: {LAST_EPISODES} episodes of the last checkpoint, deterministic")
    print("      " + " ".join(f"{value:.0f}" for value in returns))
    print(f"      mean {np.mean(returns):.1f}, lowest {min(returns):.1f}")
    path = out / f"{LESSON}.mp4"
    with open_env(card, cfg.seed) as env:
        agent = build_driver(model, card, "trained", cfg.seed)
        episode = drive(agent, env, clock=None, keep_states=True)
        write_episode(path, film(episode, env, title=f"{LESSON}, planner"))
    return rollout, path


def _sections(
    summary: dict[str, Any], robot_film: Path, curve: bytes, lesson_film: Path
) -> list[Section]:
    lesson, robot = summary["lesson"], summary["robot"]
    returns = [[str(i), f"{value:.1f}"] for i, value in enumerate(lesson["returns"])]
    return [
        Section(
            title=f"{ROBOT}: the shipped planner in real time",
            blocks=[
                Figures(
                    items=[
                        ("return of the planner", f"{robot[0]['return']:.0f}"),
                        ("upright", f"{robot[0]['upright_s']:.1f} s of 6"),
                        ("planning, p50", f"{robot[0]['plan_ms_p50']:.1f} ms"),
                        ("ticks late", f"{robot[0]['ticks_late']} of {robot[0]['ticks']}"),
                    ]
                ),
                Table(
                    header=ROBOT_COLUMNS,
                    rows=[_cells(row) for row in robot],
                    caption=f"mean of {EPISODES_EACH} episodes each, at the real control rate; "
                    "the planner in the first row, alone, is compiled where it takes too long",
                    highlight=0,
                ),
                Video(data=robot_film, caption="the planner, with what it imagined"),
            ],
        ),
        Section(
            title=f"{LESSON}: learned here, from scratch",
            blocks=[
                Figures(
                    items=[
                        (f"mean of {LAST_EPISODES} episodes", f"{lesson['mean_return']:.0f}"),
                        ("decisions", f"{lesson['decisions']:,}"),
                        ("minutes of training", f"{lesson['seconds'] / 60:.1f}"),
                    ]
                ),
                Picture(data=curve, caption="return of evaluations while it learned"),
                Video(data=lesson_film, caption="the last checkpoint, with what it imagined"),
                Table(header=("episode", "return"), rows=returns, caption="last checkpoint"),
            ],
        ),
        Section(title="What to try next", blocks=[Commands(items=NEXT)]),
        Section(
            title="Where this was measured",
            blocks=[
                Table(header=("", ""), rows=[[name, _plain(summary[name])] for name in _FACTS])
            ],
        ),
    ]


_FACTS = ("device", "threads", "renderer", "commit", "python", "packages")


def _plain(value: object) -> str:
    """A fact as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return "unknown" if value is None else str(value)
