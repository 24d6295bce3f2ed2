"""Drives the robot of a window at its true speed, and does what people ask for meanwhile."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wmrobot.core.clock import Clock, SystemClock
from wmrobot.core.errors import ConfigError, ObservationError
from wmrobot.view.controls import Control, Value, by_name
from wmrobot.view.driving import DIRECTIONS
from wmrobot.view.imaginer import Imaginer
from wmrobot.view.mind import Mind, Thought
from wmrobot.view.report import Eye, Figures, News
from wmrobot.view.rig import Rig
from wmrobot.view.tape import Tape

PICTURE_EVERY = 0.1  # [s]
REST = 0.02  # [s] between two looks at the commands while the robot rests
PLANNER = ("agent", "planner", "horizon", "samples", "iterations", "inverse_temperature")
Source = Callable[[], str | None]


class Driver:
    """The control loop of a window.

    The decision comes first: what is shown, asked for and imagined has the time that is left until
    the next one is due.

    Args:
        mind: Who decides.
        rig: What is driven.
        eye: Where it is shown.
        controls: What people can change, with its defaults.
        tape: Records and plays back.
        clock: Keeps the time.
    """

    def __init__(
        self,
        mind: Mind,
        rig: Rig,
        eye: Eye,
        controls: tuple[Control, ...],
        tape: Tape | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.mind, self.rig, self.eye, self.tape = mind, rig, eye, tape
        self._controls, self._clock = by_name(controls), clock or SystemClock()
        self.values: dict[str, Value] = {c.name: c.default for c in controls if c.kind != "button"}
        self.figures = Figures()
        self.news = News(self._clock)
        self.newer: Source = lambda: None
        self._imaginer: Imaginer | None = None
        self._tick, self._cut, self._total = 0, True, 0.0
        self._scene = -1
        self._pictured = -math.inf
        self._steps_left: int | None = None  # of single steps; None drives on
        self._due = self._clock.now()

    def use(self, imaginer: Imaginer) -> None:
        """Show what is imagined, from now on."""
        self._imaginer = imaginer
        self.news.changed = True
        self.tell(**{"decoder off by": imaginer.describe()})

    def tell(self, **facts: str) -> None:
        """Show lines of text by name."""
        self.news.tell(**facts)

    def say(self, line: str) -> None:
        """Add a line to the window's log."""
        self.eye.publish({"say": line})

    @property
    def scene(self) -> int:
        """Number of the model that is drawn."""
        return self._scene

    def show_first(self) -> None:
        """Show the robot before it has decided anything."""
        place = self.rig.place()
        message: dict[str, Any] = {"tick": 0}
        if place:
            message |= {**place, "scene": self._model_number(), "cut": True}
        self.eye.publish(self._with_news(message))

    def beat(self) -> None:
        """Let the window know that the loop is alive while it does something else."""
        if self.news.is_due:
            self.eye.publish(self._with_news({}))

    def run(self, keep_on: Callable[[], bool]) -> None:
        """Drive until told otherwise."""
        self._due = self._clock.now()
        while keep_on():
            self._hear()
            if self.tape is not None and self.tape.is_playing:
                self.eye.publish(self._with_news(self.tape.play(self.values, self._clock.now())))
                self._cut = True  # where the robot is has nothing to do with that
                self._clock.sleep(self.tape.pause)
                self._due = self._clock.now()
            elif self.values.get("pause") and not self._steps_left:
                self._rest()
            else:
                self.tick()
                self._wait()

    def tick(self) -> None:
        """One decision: observe, plan, act; then show it."""
        place, start = self.rig.place(), self._clock.now()
        obs = self.rig.sense()
        try:
            action = self.mind.act(obs)
            spent = self._clock.now() - start
            step = self.rig.step(action)  # a robot that is pushed hard enough leaves all bounds
        except ObservationError as error:
            self.say(f"a new episode begins: {error}")
            self._begin_episode(reset=True)
            return
        self.figures.add(spent, self.rig.spec.control_dt)
        reward = float(step.reward[0])
        self._total += reward
        self._show(place, action[0], reward, spent * 1e3)
        self._tick += 1
        if self._steps_left:
            self._steps_left -= 1
        if step.ended[0]:
            self.tell(last_episode=f"return {self._total:.1f} in {self._tick} decisions")
            self._begin_episode(reset=False)

    def _show(
        self, place: Mapping[str, np.ndarray], action: np.ndarray, reward: float, act_ms: float
    ) -> None:
        """Publish a decision."""
        thought = self.mind.thought()
        message: dict[str, Any] = {
            "tick": self._tick,
            "time": self._tick * self.rig.spec.control_dt,
            "action": action,
            "stages_ms": self.mind.stages_ms,
            "series": self._series(thought, reward, act_ms),
        }
        if thought is not None and len(thought.mean) > 1:  # the first action is executed
            message |= {"plan_mean": thought.mean[1:], "plan_std": thought.std[1:]}
        if place:
            message |= {**place, "scene": self._model_number()}
            message["frame_dt"] = self.rig.spec.control_dt / float(self.values.get("speed", 1.0))
        if self._cut:
            message["cut"] = True
            self._cut = False
        now = self._clock.now()
        if now - self._pictured >= PICTURE_EVERY:
            picture = self.rig.picture()
            if picture is not None:
                message["camera"] = picture
            self._pictured = now
        self.eye.publish(self._with_news(message))
        if self.tape is not None and place:
            self.tape.add({**place, "action": action, "reward": reward, "planning": act_ms})
        if place and self._imaginer is not None:
            left = self.rig.spec.control_dt - act_ms / 1e3
            ahead = int(self.values.get("ahead", 10))
            imagined = self._imaginer.imagine(self.mind, left, ahead)
            if imagined is not None:
                self.eye.publish(
                    {**imagined, "imagined_start": place["qpos"], "imagined_from": self._tick}
                )

    def _series(
        self, thought: Thought | None, reward: float, act_ms: float
    ) -> dict[str, float | None]:
        """Newest point of every curve."""
        curves: dict[str, float | None] = {
            "reward": reward,
            "planning": act_ms,
            "deadline": self.rig.spec.control_dt * 1e3,
        }
        if thought is not None:
            curves |= {"imagined reward": thought.reward, "expected return": thought.value}
        return curves

    def _with_news(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message, and now and then what the window must not miss."""
        if self.news.is_due:
            self.tell(planning=self.figures.describe())
            self.tell(episode=f"return {self._total:.1f} after {self._tick} decisions")
            message |= {"values": dict(self.values), "facts": self.news.take()}
            if self._imaginer is not None:
                message["imagined_seen"] = self._imaginer.seen
            if self.tape is not None:
                message["choices"] = {"recording": self.tape.names()}
        return message

    def _model_number(self) -> int:
        # A new window knows nothing yet, even where the robot looks as it did for the last one.
        first = self._scene < 0
        model = self.rig.new_looks(anyway=first) if self._cut or first else None
        if model is not None:
            self._scene = self.eye.publish_model(model)
        return self._scene

    def _begin_episode(self, *, reset: bool) -> None:
        if reset:
            self.rig.reset()
        self.mind.reset()
        self._tick, self._cut, self._total = 0, True, 0.0

    def _wait(self) -> None:
        """Until the next decision is due; a late one is not caught up with."""
        speed = float(self.values.get("speed", 1.0))
        self._due = max(self._due + self.rig.spec.control_dt / speed, self._clock.now())
        self._clock.sleep(self._due - self._clock.now())

    def _rest(self) -> None:
        self.beat()
        self._clock.sleep(REST)
        self._due = self._clock.now()

    def _hear(self) -> None:
        """Do what people asked for."""
        for name, value in self.eye.commands():
            if name == "pull":
                self.rig.disturbances.pull(int(value[0]), np.array(value[1:], dtype=float))
            elif name in self._controls:
                try:
                    self.change(name, self._control(name).check(value))
                except ConfigError as error:
                    self.say(str(error))
            self.news.changed = True
        if (news := self.newer()) is not None:
            self.say(news)

    def _control(self, name: str) -> Control:
        """A control as it is now: recordings come while it drives."""
        if name == "recording" and self.tape is not None:
            return replace(self._controls[name], choices=tuple(self.tape.names()))
        return self._controls[name]

    def change(self, name: str, value: Value) -> None:
        """Take one setting.

        Raises:
            ConfigError: It does not go with the others; nothing is changed.
        """
        if name in PLANNER:
            self.mind.configure({**self.values, name: value})
        if self._controls[name].kind != "button":
            self.values[name] = value
        match name:
            case "step":
                self.values["pause"], self._steps_left = True, 1
            case "pause":
                self._steps_left = None
            case "reset":
                self._begin_episode(reset=True)
            case "seed":
                self.rig.restart(int(value))
                self._begin_episode(reset=False)
            case "push":
                self._push()
            case "delay":
                self.rig.disturbances.set_delay(int(value))
            case "noise":
                self.rig.disturbances.noise_std = float(value)
            case "mass" | "friction":
                factors = {key: float(self.values[key]) for key in ("mass", "friction")}
                self.rig.disturbances.scale(**factors)
            case _ if self.tape is not None:
                self.tape.change(name, value, self)

    def _push(self) -> None:
        """Push as the widgets say."""
        body = self.rig.bodies()[str(self.values["body"])]
        way = np.array(DIRECTIONS[str(self.values["direction"])], dtype=float)
        newtons, seconds = float(self.values["newtons"]), float(self.values["push_s"])
        decisions = max(1, round(seconds / self.rig.spec.control_dt))
        self.rig.disturbances.push(body, newtons * way, decisions)
        self.say(
            f"pushed {self.values['body']} {self.values['direction']} with {newtons:g} N for "
            f"{decisions * self.rig.spec.control_dt:g} s"
        )
