"""`wmrobot bench`: how fast this machine plans, learns and simulates."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

import torch
from tqdm import tqdm

from wmrobot.app.benchmarking.learning import Subject, plan_cases, update_cases
from wmrobot.app.benchmarking.report import busy_warning, document, heading, machine, table
from wmrobot.app.benchmarking.simulation import env_cases, pixel_cases
from wmrobot.app.benchmarking.timing import Case, product_rates
from wmrobot.app.compiling import CompileChoice
from wmrobot.app.device import keep_freed_memory, pick_device, precision_warning, set_threads
from wmrobot.app.output import emit
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.config import to_plain
from wmrobot.core.errors import ConfigError
from wmrobot.envs.registry import canonical_name
from wmrobot.envs.render import choose_backend

Part = Literal["plan", "update", "env", "pixels"]
_SIMULATED = (
    "cartpole-swingup",
    "walker-walk",
    "cheetah-run",
    "humanoid-walk",
    "quadruped-walk",
    "qube2-swingup",
)
_DRAWN = ("cartpole-swingup", "walker-walk", "cheetah-run")
_OF_A_RUN = ("run", "resume", "init", "data", "offline", "save_episodes", "wandb")


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """Time planning, learning and simulation, as a training run with these settings would do them.

    It takes the settings of `train`, so that what is timed is what would be trained; those that
    tell how long to train or when to save make no difference here.

    Attributes:
        task: Task whose sizes the planner and the learner have.
        profile: Size of model and planner: nano, small, base or large.
        parts: What to time: plan, update, env, pixels.
        compile: Time compiled planning and learning: true, false, or auto, which does what a long
            run would. The first figure then comes after minutes of compiling.
        seconds: Budget of one case [s]; it makes at least 5 calls, however long they take.
        plan_batches: Robots that plan together.
        env_tasks: Tasks to simulate; null takes six common ones, and `task` where it is another.
        env_batches: Environments that step together.
        pixel_tasks: Tasks to draw, by every way to draw; null takes three common ones, and `task`
            where it is another and `obs` is not state.
        pixel_batches: Environments that are stepped and drawn together.
    """

    task: str = "walker-walk"
    profile: str | None = "nano"
    compile: CompileChoice = False
    parts: tuple[Part, ...] = ("plan", "update", "env", "pixels")
    seconds: float = 3.0
    plan_batches: tuple[int, ...] = (1, 8, 64)
    env_tasks: tuple[str, ...] | None = None
    env_batches: tuple[int, ...] = (1, 8, 64)
    pixel_tasks: tuple[str, ...] | None = None
    pixel_batches: tuple[int, ...] = (1, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(TrainConfig):
            value = getattr(self, field.name)
            if field.name in _OF_A_RUN and value != field.default:
                raise ConfigError(
                    f"{field.name}: expected it left out, as bench trains nothing, got {value}"
                )
        batches = ("plan_batches", "env_batches", "pixel_batches")
        for name in ("parts", "env_tasks", "pixel_tasks", *batches):
            if getattr(self, name) == ():
                raise ConfigError(f"{name}: expected at least one, got none")
        for name in batches:
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"{name}: expected each at least 1, got {getattr(self, name)}")
        if self.seconds <= 0:
            raise ConfigError(f"seconds: expected more than 0, got {self.seconds}")

    def simulated(self) -> tuple[str, ...]:
        """Tasks of the part `env`."""
        if self.env_tasks is not None:
            return self.env_tasks
        return tuple(dict.fromkeys((*_SIMULATED, canonical_name(self.task))))

    def drawn(self) -> tuple[str, ...]:
        """Tasks of the part `pixels`."""
        if self.pixel_tasks is not None:
            return self.pixel_tasks
        own = () if self.obs == "state" else (canonical_name(self.task),)
        return tuple(dict.fromkeys((*_DRAWN, *own)))


def run(cfg: Config, *, json: bool) -> int:
    """Time every case; print a table for each part, or one document at the end."""
    for name in (cfg.task, *cfg.simulated(), *cfg.drawn()):
        canonical_name(name)  # a mistake is told now, not after minutes
    choose_backend()
    device = pick_device(cfg.device)
    made = machine(device, set_threads(cfg.threads))
    keep_freed_memory()
    learned = bool({"plan", "update"} & set(cfg.parts))
    for warning in (
        busy_warning(made["load_average"]),
        precision_warning(device, cfg.model.precision) if learned else None,
    ):
        if warning:
            print(warning, file=sys.stderr)
    rates = product_rates(device, cfg.seconds, cfg.model.precision) if learned else []
    if not json:
        print("\n".join(heading(made, rates)), flush=True)
    cases: list[Case] = []
    for part in dict.fromkeys(cfg.parts):
        timed = list(_with_bar(_cases(cfg, part, device), part))
        cases += timed
        if timed and not json:
            print("\n" + "\n".join(table(timed, rates)), flush=True)
    if json:
        emit(document(to_plain(cfg), made, rates, cases))
    return 0


def _cases(cfg: Config, part: Part, device: torch.device) -> Iterator[Case]:
    """Time one part, case by case."""
    match part:
        case "plan":
            return plan_cases(Subject(cfg, device), cfg.plan_batches, cfg.seconds)
        case "update":
            return update_cases(Subject(cfg, device), cfg.seconds)
        case "env":
            return env_cases(
                cfg.simulated(),
                cfg.env_batches,
                seed=cfg.seed,
                workers=cfg.workers,
                seconds=cfg.seconds,
            )
        case "pixels":
            return pixel_cases(
                cfg.drawn(),
                cfg.pixel_batches,
                seed=cfg.seed,
                image_size=cfg.image_size,
                seconds=cfg.seconds,
            )


def _with_bar(cases: Iterator[Case], part: Part) -> Iterator[Case]:
    """The same cases, counted on stderr as they come: some take a minute."""
    # disable=None: silent where stderr is no terminal
    return iter(tqdm(cases, desc=f"timing {part}", unit=" cases", leave=False, disable=None))
