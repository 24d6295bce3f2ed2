"""Wires the window of `wmrobot view`: who drives, what, and where it is shown."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from wmrobot.app.compiling import Compilation
from wmrobot.app.controllers import (
    Card,
    check_card,
    checkpoint_folders,
    find_controller,
    read_controller,
)
from wmrobot.app.device import keep_freed_memory, pick_device, set_threads
from wmrobot.app.viewing.announce import announce
from wmrobot.app.viewing.awake import keep_awake
from wmrobot.app.viewing.bundle import RecordedEnv, load_bundle
from wmrobot.app.viewing.films import Filmer
from wmrobot.app.viewing.settings import ViewConfig
from wmrobot.core.clock import SystemClock
from wmrobot.core.errors import CheckpointError, ConfigError
from wmrobot.core.files import user_path
from wmrobot.core.random import make_generator
from wmrobot.core.seeds import derive_seed
from wmrobot.core.spec import file_name
from wmrobot.envs.vector import VectorEnv
from wmrobot.plan.config import PlannerConfig
from wmrobot.view.controls import Control
from wmrobot.view.driving.driver import Driver
from wmrobot.view.driving.imaginer import Imaginer
from wmrobot.view.driving.mind import BundleMind, LearnedMind, Mind
from wmrobot.view.driving.rig import Rig
from wmrobot.view.driving.states import learn_decoder
from wmrobot.view.hindsight import discount_of
from wmrobot.view.layout import Layout
from wmrobot.view.live_layout import (
    CHARTS,
    drive_controls,
    planner_controls,
    record_controls,
    world_controls,
)
from wmrobot.view.recorded.recording import recordings
from wmrobot.view.recorded.tape import Tape
from wmrobot.view.window import Window

LOOK_EVERY = 2.0  # [s] between two looks for a newer checkpoint


def drive(cfg: ViewConfig, window: Window) -> int:
    """Open the window and drive until interrupted, or until it is told to close."""
    set_threads(cfg.threads)
    keep_freed_memory()
    if cfg.bundle is not None:
        mind, build_env, facts = load_bundle(cfg)
        return _drive(cfg, window, mind, Rig(build_env, cfg.seed), facts)
    device = pick_device(cfg.device)
    folder = find_controller(task=cfg.task, run=cfg.run)
    model, card = read_controller(folder, device)
    card = check_card(card, folder, task=cfg.task)
    compilation = Compilation(cfg.compile, device, updates=0)
    learned = LearnedMind(
        model=model.eval(),
        base=card.planner,
        obs_shapes=card.task.obs_shapes,
        frame_stack=card.model.frame_stack,
        generator=make_generator(cfg.seed, "window", device),
        agent=cfg.agent,
        compiler=compilation,
    )
    rig = Rig(partial(make_env, card.task.name, card.env_options()), cfg.seed)
    return _drive(
        cfg, window, learned, rig, {"controller": _short(folder)}, card, compilation=compilation
    )


def _drive(
    cfg: ViewConfig,
    window: Window,
    mind: Mind,
    rig: Rig,
    facts: dict[str, str],
    card: Card | None = None,
    compilation: Compilation | None = None,
) -> int:
    """All that bundles and learned models share."""
    spec = rig.spec
    out = user_path(cfg.out or f"runs/view-{file_name(spec.name)}")
    controls = make_controls(cfg, rig, card.planner if card else None, out)
    window.open(make_layout(rig, controls, _discount(mind, card)))
    announce(window, spec.name, open_it=cfg.open)
    tape = None
    if rig.has_scene:
        films = Filmer(card.env_options() if card else {})
        tape = Tape(out, spec.name, spec.control_dt, films=films, shapes=rig.shapes())
    driver = Driver(mind, rig, window, controls, tape)
    driver.tell(**facts)
    if cfg.replay is not None:
        if tape is None:
            raise ConfigError(f"replay: {spec.name} has no MuJoCo scene to play a rollout in")
        tape.begin_with(user_path(cfg.replay), driver)
    until = None if cfg.seconds is None else time.monotonic() + cfg.seconds
    keep_on = lambda: window.is_open and (until is None or time.monotonic() < until)  # noqa: E731
    try:
        driver.show_first()
        if compilation is not None and compilation.on:
            _compile(driver, mind, rig, compilation)
        if isinstance(mind, LearnedMind) and card is not None:
            _imagine(driver, mind, card, cfg.seed)
            if cfg.run is not None:
                driver.newer = _Follower(cfg, mind, driver, card)
        driver.run(keep_on)
    finally:
        if tape is not None:
            tape.end(driver)
        rig.close()
    if not window.is_open:
        raise ConfigError("view: the window's process has ended; its last words are above")
    return 0


def _compile(driver: Driver, mind: Mind, rig: Rig, compilation: Compilation) -> None:
    """Plan once, which compiles; the window is kept awake meanwhile."""
    driver.say("compiling the planner: the robot waits for it")
    with keep_awake(driver.beat):
        compilation.rehearse(lambda: mind.act(rig.sense()))
    mind.reset()
    driver.say(compilation.told)


def _imagine(driver: Driver, mind: LearnedMind, card: Card, seed: int) -> None:
    """Fit the decoder; the robot waits for it, its first picture is there already."""
    envs = partial(make_envs, card.task.name, card.env_options())
    begin = time.perf_counter()
    driver.say("fitting the decoder that shows what is imagined: the robot waits for it")
    learned = learn_decoder(mind.model, mind.frame_stack, envs, seed, beat=driver.beat)
    if learned is not None:
        decoder, error = learned
        imaginer = Imaginer(decoder, error, SystemClock())
        driver.use(imaginer)
        print(f"decoder off by {imaginer.describe()}", flush=True)
        took = time.perf_counter() - begin
        driver.say(f"decoder fitted on {error.num_states} states in {took:.1f} s")


class _Follower:
    """Takes the newest checkpoint of a run that is training.

    Args:
        cfg: Which run.
        mind: Where the weights go.
        driver: Whose widget allows it.
        card: What the run is of.
    """

    def __init__(self, cfg: ViewConfig, mind: LearnedMind, driver: Driver, card: Card) -> None:
        assert cfg.run is not None
        self._card, self._seed = card, cfg.seed
        self._run, self._mind, self._driver = user_path(cfg.run), mind, driver
        self._taken = find_controller(task=None, run=cfg.run)
        self._looked = time.monotonic()

    def __call__(self) -> str | None:
        """What has changed, if anything; looks now and then only."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY or not self._driver.values.get("newest"):
            return None
        self._looked = now
        saved = checkpoint_folders(self._run)
        if not saved or saved[-1] == self._taken:
            return None
        try:
            model, _ = read_controller(saved[-1], self._mind.generator.device)
        except CheckpointError as error:  # it is being replaced: the next look finds it
            return f"could not take {saved[-1].name}: {error}"
        self._taken = saved[-1]
        self._mind.adopt(model.eval())
        self._driver.tell(controller=_short(self._taken), **{"decoder off by": ""})
        self._driver.begin_anew()
        _imagine(self._driver, self._mind, self._card, self._seed)  # its latents are others
        return f"took checkpoint {self._taken.name}"


def make_controls(
    cfg: ViewConfig, rig: Rig, planner: PlannerConfig | None, out: Path
) -> tuple[Control, ...]:
    """What can be changed; a bundle's planner (None) cannot."""
    bodies = rig.bodies()
    names = tuple(recordings(out)) if out.is_dir() else ()
    is_run = cfg.run is not None and bool(checkpoint_folders(user_path(cfg.run)))
    controls = (
        *drive_controls(cfg.seed, follow=rig.travels()),
        *(planner_controls(planner, cfg.agent) if planner is not None else ()),
        *world_controls(tuple(bodies), rig.weight()),
        *record_controls(names, is_run=is_run, has_scene=rig.has_scene),
    )
    dead = _dead(rig, imagines=planner is not None)
    return tuple(control for control in controls if control.name not in dead)


def _dead(rig: Rig, *, imagines: bool) -> set[str]:
    """Controls that never do anything here; `imagines` where a planner tells what it imagines."""
    dead: set[str] = set()
    env: object = rig.env
    if not rig.has_scene:
        dead |= {"follow", "shadows"}
    if not (rig.has_scene and imagines):
        dead |= {"ghost", "paths", "ahead"}
    if "state" not in rig.obs:
        dead |= {"noise"}
    if isinstance(env, RecordedEnv):
        dead |= {"seed", "delay"}
    return dead


def _discount(mind: Mind, card: Card | None) -> float:
    """Weight of the next decision's value, as what drives was trained with."""
    if isinstance(mind, BundleMind):
        return discount_of(mind.planner.description)
    assert card is not None
    return card.discount


def make_layout(rig: Rig, controls: tuple[Control, ...], discount: float) -> Layout:
    """What there is to show of a robot."""
    spec = rig.spec
    notes = () if rig.has_scene else (f"{spec.name} has no MuJoCo scene: curves only",)
    return Layout(
        title=f"{file_name(spec.name)}, {1 / spec.control_dt:.0f} decisions/s",
        controls=controls,
        charts=CHARTS,
        action_names=spec.action_names or tuple(f"action {i}" for i in range(spec.action_dim)),
        control_dt=spec.control_dt,
        discount=discount,
        has_scene=rig.has_scene,
        has_camera="rgb" in spec.obs_shapes,
        follows=rig.travels(),
        notes=notes,
    )


def make_env(name: str, options: dict[str, Any], seed: int) -> VectorEnv:
    """The robot of a window, from a seed."""
    return VectorEnv(name, 1, seed=derive_seed(seed, "window"), **options)


def make_envs(name: str, options: dict[str, Any], count: int) -> VectorEnv:
    """Robots beside it, to fit the decoder with."""
    return VectorEnv(name, count, seed=derive_seed(0, "decoder"), batched=False, **options)


def _short(folder: Path) -> str:
    """A controller's folder by its last two names."""
    return "/".join(folder.parts[-2:])
