"""Settings of a training run: everything that decides what it learns."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wmrobot.app.compiling import CompileChoice
from wmrobot.core.config import to_plain
from wmrobot.core.errors import ConfigError
from wmrobot.core.files import user_path
from wmrobot.core.spec import ObsMode
from wmrobot.data.memory import ReplayConfig
from wmrobot.envs.registry import canonical_name
from wmrobot.envs.task import RenderMode
from wmrobot.learn.config import LearnerConfig
from wmrobot.model.config import ModelConfig
from wmrobot.plan.config import MppiConfig, PlannerConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a world model of a task, and the planner with it.

    Attributes:
        task: Task to learn: a listed name, path/to/file.py:name or gym:<id>. A run that goes on
            has its own.
        profile: Size of model and planner: nano, small, base or large.
        run: Folder of the run; null names one under runs/ by task, time and seed.
        resume: Folder of a run to go on with, exactly where its last checkpoint is. Where the
            task's file has moved, tell the task beside it.
        extend_to: With `resume`, to make a run longer than it was begun: `steps` in all.
        init: Run or shipped controller whose weights to start from (fine-tuning).
        data: Folder of recorded episodes to put into the replay first.
        offline: Learn from `data` alone; `steps` then counts updates.
        save_episodes: Folder to write every collected episode to.
        obs: What the robot sees: state, rgb or state+rgb.
        cameras: Cameras of the pictures, by name or index; null takes the task's own.
        render: How pictures are drawn: exact, near, fast or ray.
        image_size: Height and width of the pictures [pixels].
        seed: Seed of the whole run.
        steps: Decisions to take, over all environments; rounded up to as many for each.
        seed_steps: Decisions with random actions at the start.
        num_envs: Environments that collect side by side.
        greedy_envs: How many of them act as an evaluation does, without exploration, so that the
            model knows the states that a deployed planner meets.
        workers: Processes that they are spread over (threads for the suite's common domains from
            states); 0 steps them in this process.
        extra_iterations: Rounds that the planner makes on top of `planner.iterations` where the
            robot has 20 or more actuators, as TD-MPC2's does; 0 for none.
        updates_per_decision: Gradient updates for each decision.
        pretrain_updates: Updates when the random decisions are over; null takes `seed_steps`.
        eval_freq: Decisions between evaluations; 0 evaluates at the end only.
        eval_episodes: Episodes of one evaluation.
        save_freq: Decisions between checkpoints; 0 saves at the end only.
        log_freq: Decisions between rows of train.csv.
        device: Where the model lives: auto, cpu, cuda or mps.
        threads: Threads of torch; 0 takes OMP_NUM_THREADS, or every core.
        compile: Compile planning and learning: true, false, or auto, which does for long runs on a
            CPU that has a C++ compiler.
        wandb: Project to log to on Weights & Biases (needs wmrobot[wandb]).
        view: Show curves and the latest evaluation in a browser (needs wmrobot[view]).
        model: World model.
        planner: Planner: mppi, cem or icem.
        learner: Update step.
        replay: Replay memory.
    """

    task: str = ""
    profile: str | None = "base"
    run: str | None = None
    resume: str | None = None
    extend_to: int | None = None
    init: str | None = None
    data: str | None = None
    offline: bool = False
    save_episodes: str | None = None
    obs: ObsMode = "state"
    cameras: tuple[int | str, ...] | None = None
    render: RenderMode = "near"
    image_size: int = 64
    seed: int = 1
    steps: int = 500_000
    seed_steps: int = 2_500
    num_envs: int = 1
    greedy_envs: int = 0
    workers: int = 0
    extra_iterations: int = 2
    updates_per_decision: float = 1.0
    pretrain_updates: int | None = None
    eval_freq: int = 25_000
    eval_episodes: int = 10
    save_freq: int = 25_000
    log_freq: int = 1_000
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0
    compile: CompileChoice = "auto"
    wandb: str | None = None
    view: bool = False
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: PlannerConfig = field(default_factory=MppiConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)

    def __post_init__(self) -> None:
        if not self.task and self.resume is None:
            raise ConfigError(
                "task: expected a name, path/to/file.py:name or gym:<id>, got none; "
                "wmrobot tasks lists the names"
            )
        for name in ("steps", "num_envs", "eval_episodes", "log_freq"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in (
            "seed",
            "seed_steps",
            "workers",
            "extra_iterations",
            "eval_freq",
            "save_freq",
            "threads",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: expected at least 0, got {getattr(self, name)}")
        for name, most in (("num_envs", 65_536), ("eval_episodes", 65_536), ("image_size", 2_048)):
            if getattr(self, name) > most:
                raise ConfigError(f"{name}: expected at most {most:,}, got {getattr(self, name):,}")
        if self.extend_to is not None and self.resume is None:
            raise ConfigError("extend_to: expected resume=<folder of a run> with it, got none")
        if not 0 <= self.greedy_envs < self.num_envs:
            raise ConfigError(
                f"greedy_envs: expected 0 to num_envs - 1 = {self.num_envs - 1}, "
                f"got {self.greedy_envs}; set both"
            )
        if self.updates_per_decision <= 0:
            raise ConfigError(
                f"updates_per_decision: expected more than 0, got {self.updates_per_decision}"
            )
        if self.pretrain_updates is not None and self.pretrain_updates < 0:
            raise ConfigError(f"pretrain_updates: expected at least 0, got {self.pretrain_updates}")
        if self.image_size < 40:
            raise ConfigError(f"image_size: expected at least 40 pixels, got {self.image_size}")
        if self.learner.max_shift >= self.image_size:
            raise ConfigError(
                f"learner.max_shift: expected less than image_size={self.image_size}, "
                f"got {self.learner.max_shift}"
            )
        if self.learner.state_coef > 0 and self.obs != "rgb":
            raise ConfigError(
                "learner.state_coef: expected obs=rgb with it, to learn what pictures show of the "
                f"state, got obs={self.obs}"
            )
        if self.offline and self.data is None:
            raise ConfigError("offline: expected data=<folder of episodes> with it, got none")

    @property
    def collected(self) -> ObsMode:
        """What training sees: with `learner.state_coef` the state too."""
        return "state+rgb" if self.learner.state_coef > 0 else self.obs


def settings_of_learning(cfg: TrainConfig) -> dict[str, Any]:
    """Settings as plain values, but for what makes no difference to what is learned."""
    return {name: value for name, value in to_plain(cfg).items() if name != "view"}


def settle_places(cfg: TrainConfig) -> TrainConfig:
    """Settings with every place by its full path: the run goes on from any working directory."""
    changes: dict[str, Any] = {"task": canonical_name(cfg.task)}
    for name in ("data", "save_episodes", "init"):
        value = getattr(cfg, name)
        if value is not None and (name != "init" or user_path(value).is_dir()):
            changes[name] = str(user_path(value).resolve())
    return replace(cfg, **changes)
