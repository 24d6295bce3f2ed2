"""Whether a window slows the control loop: `python benchmarks/view.py [task] [seconds a round]`.

Drives the shipped controller at its true speed: without a window, with one that nobody looks at,
and with one that three clients look at, one that does not read what it is sent, or ones that come
and go. The cases take turns, so that a busy minute of the machine hits all of them. Prints one JSON
document: percentiles of the time of a decision, and of the time from when it was due to when the
action was there. Run it on an idle machine; `load` says whether it was.
"""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from wmrobot.app.benchmarking.script import run_script
from wmrobot.core.machine import describe_machine

ROUNDS = 4
WARM_UP = 25  # decisions at the start of each round that are left out
PERCENTILES = (50, 95, 99, 99.9)


class Nobody:
    """A window that is not there."""

    def publish(self, message: Mapping[str, Any]) -> None:
        """Nothing to show it on."""

    def publish_model(self, model: Any) -> int:
        """Likewise."""
        return 0

    def commands(self) -> list[tuple[str, Any]]:
        """Nobody has done anything."""
        return []


def look(link: str, manner: str) -> None:
    """One client: `reads` all it is sent, `stalls` after the first message, or `comes and goes`."""
    import viser
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    os.nice(10)  # in life it is on another machine
    while True:
        try:
            protocol = f"viser-v{viser.__version__}"
            address = link.replace("http", "ws").rstrip("/")
            with connect(address, subprotocols=[protocol], max_size=None) as socket:  # type: ignore
                until = time.monotonic() + 0.5
                while manner != "comes and goes" or time.monotonic() < until:
                    socket.recv()
                    while manner == "stalls":
                        time.sleep(1)
        except (ConnectionClosed, OSError):
            time.sleep(0.1)


@contextmanager
def clients(link: str, manners: tuple[str, ...]) -> Iterator[None]:
    """Processes that look at a window."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=look, args=(link, m), daemon=True) for m in manners]
    for process in started:
        process.start()
    if started:
        time.sleep(3.0)  # until they have imported what they need
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


CASES: dict[str, tuple[str, ...] | None] = {
    "no window": None,
    "nobody looks": (),
    "three clients": ("reads",) * 3,
    "a client that stalls": ("stalls",),
    "clients that come and go": ("comes and goes",) * 2,
}


def measure(
    make_driver: Callable[[Any], Any], eye: Any, seconds: float
) -> tuple[list[float], list[float]]:
    """Times of decisions and of lateness [ms] over some seconds of driving."""
    driver = make_driver(eye)
    taken: list[float] = []
    late: list[float] = []
    tick = driver.tick

    def timed() -> None:
        due = driver._due
        before = time.perf_counter()
        tick()
        taken.append(driver.figures.act_ms[-1])
        late.append((before - due) * 1e3 + taken[-1])

    driver.tick = timed
    end = time.monotonic() + seconds
    driver.run(lambda: time.monotonic() < end)
    return taken[WARM_UP:], late[WARM_UP:]


def prepare(task: str) -> tuple[Callable[[Any], Any], Any]:
    """A maker of drivers for a shipped controller, and the layout of its window."""
    import torch

    from wmrobot.app.controllers import find_controller, read_controller
    from wmrobot.app.device import keep_freed_memory, set_threads
    from wmrobot.app.view import Config
    from wmrobot.app.viewing import live
    from wmrobot.core.clock import SystemClock
    from wmrobot.core.random import make_generator
    from wmrobot.view.driving.driver import Driver
    from wmrobot.view.driving.imaginer import Imaginer
    from wmrobot.view.driving.mind import LearnedMind
    from wmrobot.view.driving.rig import Rig
    from wmrobot.view.driving.states import learn_decoder

    set_threads(1)
    keep_freed_memory()
    model, card = read_controller(find_controller(task=task, run=None), torch.device("cpu"))
    name, options = card.task.name, card.env_options()
    envs = lambda count: live.make_envs(name, options, count)  # noqa: E731
    learned = learn_decoder(model.eval(), card.model.frame_stack, envs, 0)
    assert learned is not None
    rig = Rig(lambda seed: live.make_env(name, options, seed), 1)
    controls = live.make_controls(Config(task=task), rig, card.planner, Path("none"))

    def make(eye: Any) -> Driver:
        mind = LearnedMind(
            model=model,
            base=card.planner,
            obs_shapes=card.task.obs_shapes,
            frame_stack=card.model.frame_stack,
            generator=make_generator(1, "window"),
        )
        rig.reset()
        driver = Driver(mind, rig, eye, controls)
        driver.use(Imaginer(*learned, SystemClock()))
        return driver

    return make, live.make_layout(rig, controls, card.discount)


def main(task: str = "qube2-swingup", seconds: str = "20") -> None:
    """Measure every case, `ROUNDS` times in turn."""
    from wmrobot.view.window import Window

    load = os.getloadavg()[0]
    make, layout = prepare(task)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CASES}
    for _ in range(ROUNDS):
        for name, manners in CASES.items():
            if manners is None:
                parts = measure(make, Nobody(), float(seconds))
            else:
                with Window(port=18_200) as window:
                    link = window.open(layout)
                    with clients(link, manners):
                        parts = measure(make, window, float(seconds))
            for kept, new in zip(found[name], parts, strict=True):
                kept.extend(new)
    threads = threading.active_count()
    document = {
        "task": task,
        "machine": describe_machine(),
        "load": [load, os.getloadavg()[0]],
        "threads_of_the_loop": threads,
        "versions": {name: version(name) for name in ("torch", "mujoco", "viser", "mjviser")},
        "cases": {
            name: {
                "decisions": len(act),
                "act_ms": {f"p{q:g}": float(np.percentile(act, q)) for q in PERCENTILES},
                "due_to_action_ms": {f"p{q:g}": float(np.percentile(d, q)) for q in PERCENTILES},
            }
            for name, (act, d) in found.items()
        },
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    run_script(lambda words: main(*words), __doc__)
