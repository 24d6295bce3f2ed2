"""`wmrobot view replay=<file>`: a recorded drive, or a rollout, without whoever drove it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmrobot.app.viewing.announce import announce
from wmrobot.app.viewing.scenes import find_scene
from wmrobot.app.viewing.settings import ViewConfig
from wmrobot.core.errors import ConfigError, DataError
from wmrobot.core.files import user_path
from wmrobot.core.spec import file_name
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.view.drive_layout import make_layout, playback_controls
from wmrobot.view.hindsight import DISCOUNT
from wmrobot.view.looks import dressed, shapes_of
from wmrobot.view.recorded.flights import is_flight, load_flight
from wmrobot.view.recorded.playback import FRAME, Dress, Playback
from wmrobot.view.recorded.projector import Projector
from wmrobot.view.recorded.recording import Recording
from wmrobot.view.window import Window


def stands_alone(cfg: ViewConfig) -> bool:
    """Whether a recording is to be shown without a robot that is driven beside it."""
    if cfg.replay is None:
        return False
    is_named = cfg.task is not None or cfg.run is not None or cfg.bundle is not None
    return not is_named or is_flight(user_path(cfg.replay))


def show_recording(cfg: ViewConfig, window: Window) -> int:
    """Open the window and play until interrupted, or until it is told to close.

    Raises:
        RobotError: The file is missing or damaged.
        DataError: It is no recording, or of another task than was asked for.
    """
    assert cfg.replay is not None
    path = user_path(cfg.replay)
    recording, about = load_flight(path) if is_flight(path) else (Recording.load(path), {})
    _check_task(cfg, path, recording.task)
    scene = find_scene(recording.task)
    poses = recording.arrays.get("qpos")
    pose_dim = 0 if poses is None else poses.shape[1]
    drawn, told = scene.judge(pose_dim, about.get("mjcf_sha256"))
    if drawn:
        recording.check(path, shapes_of(scene.model))
    has_rungs = "ladder" in recording.states
    controls = playback_controls(
        recording.seconds, follow=scene.follows, drawn=drawn, has_rungs=has_rungs
    )
    layout = make_layout(
        f"{file_name(recording.task)}, recorded",
        recording.control_dt,
        controls,
        action_names=recording.action_names,
        discount=float(about.get("discount", DISCOUNT)),
        follows=scene.follows,
        frame_dt=FRAME,
    )
    window.open(replace(layout, notes=("a recording: no robot is driven here",)))
    announce(window, f"{path.name}, {recording.seconds:.1f} s of {recording.task},",
             open_it=cfg.open)  # fmt: skip
    dress = _dress(window, scene.model) if drawn else None
    if told:
        window.publish({"say": told})
        print(told, flush=True)
    playback = Playback(recording, dress)
    facts = _describe(about)
    until = None if cfg.seconds is None else time.monotonic() + cfg.seconds
    Projector(window, playback, controls, facts).run(
        lambda: window.is_open and (until is None or time.monotonic() < until)
    )
    if not window.is_open:
        raise ConfigError("view: the window's process has ended; its last words are above")
    return 0


def _dress(window: Window, model: Any) -> Dress:
    """Tells the numbers of models that look as they should."""
    as_it_is = window.publish_model(model)
    return lambda looks: window.publish_model(dressed(model, looks)) if looks else as_it_is


def _describe(about: Mapping[str, str]) -> dict[str, str]:
    """What to show of what a recording remembers."""
    told = {"controller": about.get("bundle", ""), "driven": about.get("robot", "")}
    if "over" in about:
        told["ended by"] = about["over"]
    if about.get("guard_at_end"):
        told["guard in the end"] = f"{about['guard_at_end']}: {about['guard_reason_at_end']}"
    return told


def _check_task(cfg: ViewConfig, path: Path, task: str) -> None:
    """Refuse a recording of something else than was named beside it."""
    if cfg.run is not None:
        raise ConfigError(f"run: {path} was driven by a bundle, expected no run= beside it")
    asked = cfg.task
    if cfg.bundle is not None:
        asked = Bundle.read(cfg.bundle).description.task
    if asked is not None and asked != task:
        raise DataError(f"{path}: expected a recording of {asked}, got one of {task}")
