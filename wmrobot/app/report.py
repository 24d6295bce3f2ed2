"""`wmrobot report`: a run in one page: how it learned, and what its model got right."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from wmrobot import __version__
from wmrobot.app.controllers import Card, check_card, find_controller, read_controller
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.output import output_file
from wmrobot.app.pace import read_pace
from wmrobot.app.reporting.diagnosis import Diagnosis, diagnose
from wmrobot.app.reporting.diagnosis_page import curve_of, diagnosis_sections, loss_pictures
from wmrobot.app.reporting.html_page import (
    Figures,
    Paragraph,
    Picture,
    Section,
    Table,
    Video,
    write_report,
)
from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.showing.episode import drive, film
from wmrobot.app.showing.stage import build_driver, open_env
from wmrobot.app.showing.video import write_episode
from wmrobot.app.tables import read_rows
from wmrobot.app.training.build import build_replay
from wmrobot.app.training.checkpoint import TRAINING, ReplayChunks, read_training
from wmrobot.app.training.result import Result, read_result
from wmrobot.app.training.run_file import SUMMARY_FILE, read_settings
from wmrobot.core.errors import CheckpointError, ConfigError, DataError, TaskError
from wmrobot.core.files import user_path
from wmrobot.model.world_model import WorldModel

NO_FILM = "none"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `report`.

    Attributes:
        run: Folder of a run.
        task: The run's own task, where its file has moved since.
        out: The page; null takes `report.html` in that folder.
        episodes: Episodes that each agent drives, side by side; the probe needs two.
        horizon: Decisions that the model imagines without looking again.
        film: MP4 to show, or none; null drives and films an episode of the last checkpoint.
        seed: Of the environments and of the planner's noise.
        device: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes OMP_NUM_THREADS, or every core.
    """

    run: str | None = None
    task: str | None = None
    out: str | None = None
    episodes: int = 4
    horizon: int = 16
    film: str | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.run is None:
            got = "none" if self.task is None else f"the task {self.task} alone"
            raise ConfigError(f"report: expected run=<folder of a run>, got {got}")
        for name in ("episodes", "horizon"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected at least 0, got {self.seed}")


def run(cfg: Config, *, json: bool = False) -> int:
    """Drive, measure, write the page."""
    assert cfg.run is not None, "refused by the settings"
    folder = user_path(cfg.run)
    if not (folder / RUN_FILE).is_file():
        raise CheckpointError(f"{folder}: expected a run to report on, found no {RUN_FILE}")
    _refuse_missing(cfg.film)
    page = user_path(cfg.out) if cfg.out else folder / "report.html"
    output_file("out", page)
    device = pick_device(cfg.device)
    set_threads(cfg.threads)
    keep_freed_memory()
    checkpoint = find_controller(task=None, run=str(folder))
    model, card = read_controller(checkpoint, device)
    card = check_card(card, checkpoint, task=cfg.task)
    result = read_result(folder)
    diagnosis = diagnose(
        model.eval(), card, episodes=cfg.episodes, horizon=cfg.horizon, seed=cfg.seed
    )
    shown = _film(cfg, folder / f"film-{checkpoint.name}.mp4", model, card)
    write_report(
        page,
        title=f"{card.task.name}: {folder.name}",
        intro=f"{card.made['decisions']:,} decisions, {datetime.now():%Y-%m-%d %H:%M}, "
        f"wmrobot {__version__}",
        sections=[
            _summary(folder, card, result, diagnosis),
            *_curves(folder, card, result, shown),
            *diagnosis_sections(diagnosis, card, cfg.episodes),
            _replay(folder, checkpoint, card),
            _origin(card),
        ],
    )
    print(f"look at it: {page}")
    return 0


def _refuse_missing(film: str | None) -> None:
    """Say so before anything is driven."""
    if film not in (None, NO_FILM) and not user_path(film).is_file():
        raise ConfigError(f"film: expected an MP4, found no such file: {film}")


def _film(cfg: Config, path: Path, model: WorldModel, card: Card) -> Path | None:
    """The film to show, if any; an episode is driven and drawn where none of it is there."""
    if cfg.film == NO_FILM:
        return None
    if cfg.film is not None:
        return user_path(cfg.film)
    if path.is_file():
        return path
    try:
        with open_env(card, cfg.seed) as env:
            agent = build_driver(model, card, "trained", cfg.seed)
            episode = drive(agent, env, clock=None, keep_states=True)
            write_episode(path, film(episode, env, title=card.task.name))
    except TaskError as error:  # a task from elsewhere need not be drawable
        print(f"no film: {error}")
        return None
    return path


def _summary(folder: Path, card: Card, result: Result, diagnosis: Diagnosis) -> Section:
    mean, _ = diagnosis.agents["trained"]
    items = [("return of the planner", f"{mean:.1f}")]
    if len(result.rewards):
        items.append(("newest evaluation", f"{result.rewards[-1]:.1f}"))
        if not np.isnan(result.wall_clock_s[-1]):
            items.append(("minutes until it", f"{result.wall_clock_s[-1] / 60:.1f}"))
    pace = read_pace(
        folder,
        result,
        task=card.task.name,
        obs=card.obs,
        decisions=card.made["decisions"],
        updates=card.made["updates"],
    )
    items += [] if pace is None else pace.figures()
    items += [
        ("latent rank", f"{diagnosis.rank:.1f} of {card.model.latent_dim}"),
    ]
    if diagnosis.prior_value.num_decisions:
        items.append(("over-estimation of the prior's value", f"{diagnosis.prior_value.bias:+.2f}"))
    blocks: list[Any] = [Figures(items=items)]
    if not (folder / SUMMARY_FILE).exists():
        blocks.append(Paragraph(text="This run is not finished: its last checkpoint is told."))
    return Section(title="In short", blocks=blocks)


def _curves(folder: Path, card: Card, result: Result, shown: Path | None) -> list[Section]:
    """How it learned: evaluations, losses, gradients; and a film of what came of it."""
    blocks: list[Any] = []
    if len(result.steps):
        picture = curve_of(result, card)
        blocks.append(Picture(data=picture, caption="evaluations while it learned"))
    rows = _train_rows(folder / "train.csv")
    blocks += [Picture(data=data, caption=caption) for caption, data in loss_pictures(rows)]
    sections = [Section(title="How it learned", blocks=blocks)] if blocks else []
    if shown is not None:
        sections.append(Section(title="Film", blocks=[Video(data=shown, caption=shown.name)]))
    return sections


def _train_rows(path: Path) -> dict[str, np.ndarray]:
    """Columns of `train.csv`; NaN where a cell is empty."""
    rows = read_rows(path)
    if not rows:
        return {}
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def _replay(folder: Path, checkpoint: Path, card: Card) -> Section:
    """What the last checkpoint's replay holds."""
    if not (checkpoint / f"{TRAINING}.json").exists():
        return Section(title="Replay", blocks=[Paragraph(text="None was saved.")])
    state, settings = read_training(checkpoint), read_settings(folder)
    shapes = dict(card.task.obs_shapes)
    if told := state["learner"].get("state_head"):  # what training saw besides
        shapes["state"] = told["mean"].shape
    try:
        replay = build_replay(settings, replace(card.task, obs_shapes=shapes), torch.device("cpu"))
    except DataError as error:
        return Section(title="Replay", blocks=[Paragraph(text=f"It was not read: {error}.")])
    ReplayChunks(folder / "replay", replay).load(state["chunks"])
    rows = [
        ["windows that can be drawn", f"{replay.num_samples:,}"],
        ["mean age of what is drawn [decisions]", f"{replay.mean_age:,.0f}"],
        ["memory [MB]", f"{replay.num_bytes / 1e6:,.1f}"],
        ["updates made", f"{state['counters']['updates']:,}"],
    ]
    return Section(title="Replay", blocks=[Table(header=("", ""), rows=rows)])


def _origin(card: Card) -> Section:
    made = {name: value for name, value in card.made.items() if not isinstance(value, dict)}
    rows = [[name, "unknown" if value is None else str(value)] for name, value in made.items()]
    return Section(title="Where it was trained", blocks=[Table(header=("", ""), rows=rows)])
