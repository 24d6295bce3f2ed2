"""Drives the robot of a window at its true speed, and does what people ask for meanwhile."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wmrobot.core.clock import Clock, SystemClock
from wmrobot.core.errors import ConfigError, ObservationError
from wmrobot.runtime.errors import ObservationError as RobotObservationError
from wmrobot.view.controls import Control, Value, by_name, defaults, newest
from wmrobot.view.driving.imaginer import Imaginer
from wmrobot.view.driving.mind import Mind, Thought
from wmrobot.view.driving.news import Episode, Figures, News
from wmrobot.view.driving.rig import Rig
from wmrobot.view.eye import Eye
from wmrobot.view.live_layout import DIRECTIONS
from wmrobot.view.looks import Looks
from wmrobot.view.recorded.tape import Tape

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
        self.values = defaults(controls)
        self.figures = Figures()
        self.news = News(self._clock)
        self.newer: Source = lambda: None
        self._imaginer: Imaginer | None = None
        self._episode, self._cut, self._scene = Episode(), True, -1
        self._pictured = -math.inf
        self._steps_left: int | None = None  # of single steps; None drives on
        self._due = self._clock.now()
        if tape is not None:
            tape.dress = self.dress

    def use(self, imaginer: Imaginer) -> None:
        """Show what is imagined, from now on."""
        self._imaginer = imaginer
        self.news.changed = True
        self.tell(**{"decoder off by": imaginer.describe()})

    def begin_anew(self) -> None:
        """Show nothing more of who decided until now."""
        self.news.changed = True
        self.eye.publish(self._with_news({"anew": True}))

    def tell(self, **facts: str) -> None:
        """Show lines of text by name."""
        self.news.tell(**facts)

    def say(self, line: str) -> None:
        """Add a line to the window's log."""
        self.eye.publish({"say": line})

    def dress(self, looks: Looks) -> int:
        """Number of the model that is drawn, with other looks where there are some."""
        if not looks:
            return self._model_number()
        self._scene = -1  # the robot itself is to be told again
        return self.eye.publish_model(self.rig.dressed(looks))

    def show_first(self) -> None:
        """Show the robot before it has decided anything."""
        self.eye.publish(self._with_news(self._shown(self.rig.place())))

    def beat(self) -> None:
        """Let the window know that the loop is alive while it does something else.

        It hears nobody then, so that it does not say what its controls are set to.
        """
        if self.news.is_due:
            self.eye.publish({"facts": self._facts()})

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
        except (ObservationError, RobotObservationError) as error:  # of a model, or of a bundle
            self.say(f"a new episode begins: {error}")
            self._begin_episode(reset=True)
            return
        self.figures.add(spent, self.rig.spec.control_dt)
        reward = float(step.reward[0])
        self._episode.total += reward
        self._show(place, action[0], reward, spent * 1e3)
        self._episode.decisions += 1
        if self._steps_left:
            self._steps_left -= 1
        if step.ended[0]:
            now = self._episode
            self.tell(last_episode=f"{now.earned} in {now.decisions} decisions")
            self._begin_episode(reset=False)

    def _show(
        self, place: Mapping[str, np.ndarray], action: np.ndarray, reward: float, act_ms: float
    ) -> None:
        """Publish a decision."""
        thought, tick = self.mind.thought(), self._episode.decisions
        message: dict[str, Any] = {
            **self._shown(place),
            "time": tick * self.rig.spec.control_dt,
            "action": action,
            "stages_ms": self.mind.stages_ms,
            "series": self._series(thought, reward, act_ms),
        }
        if thought is not None and len(thought.mean) > 1:  # the first action is executed
            message |= {"plan_mean": thought.mean[1:], "plan_std": thought.std[1:]}
        if place:
            message["frame_dt"] = self.rig.spec.control_dt / float(self.values.get("speed", 1.0))
        self.eye.publish(self._with_news(message))
        if self.tape is not None and place:
            row = {**place, "action": action, "reward": reward, "planning": act_ms}
            self.tape.add({**row, "episode": self._episode.number}, self.rig.looks)
        if place and self._imaginer is not None:
            left = self.rig.spec.control_dt - act_ms / 1e3
            ahead = int(self.values.get("ahead", 10))
            imagined = self._imaginer.imagine(self.mind, left, ahead)
            if imagined is not None:
                self.eye.publish(
                    {**imagined, "imagined_start": place["qpos"], "imagined_from": tick}
                )

    def _shown(self, place: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The robot as it is now; from the first state of an episode on, everything anew."""
        message: dict[str, Any] = {"tick": self._episode.decisions}
        if place:
            message |= {**place, "scene": self._model_number()}
        now = self._clock.now()
        if self._cut or now - self._pictured >= PICTURE_EVERY:
            picture = self.rig.picture()
            if picture is not None:
                message["camera"] = picture
            self._pictured = now
        if self._cut:
            message["cut"], self._cut = True, False
        return message

    def _series(
        self, thought: Thought | None, reward: float, act_ms: float
    ) -> dict[str, float | None]:
        """Newest point of every curve."""
        curves: dict[str, float | None] = {
            "reward": None if math.isnan(reward) else reward,
            "planning": act_ms,
            "deadline": self.rig.spec.control_dt * 1e3,
        }
        if thought is not None:
            curves |= {"imagined reward": thought.reward, "expected return": thought.value}
        return curves

    def _with_news(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message, and now and then what the window must not miss."""
        if self.news.is_due:
            message |= {"values": dict(self.values), "facts": self._facts()}
            if self._imaginer is not None:
                message["imagined_seen"] = self._imaginer.seen
            if self.tape is not None:
                message |= self.tape.limits
        return message

    def _facts(self) -> dict[str, str]:
        now = self._episode
        self.tell(planning=self.figures.describe())
        self.tell(episode=f"{now.earned} after {now.decisions} decisions")
        return self.news.take()

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
        self._episode, self._cut = Episode(number=self._episode.number + 1), True

    def _wait(self) -> None:
        """Until the next decision is due; a late one is not caught up with."""
        speed = float(self.values.get("speed", 1.0))
        self._due = max(self._due + self.rig.spec.control_dt / speed, self._clock.now())
        self._clock.sleep(self._due - self._clock.now())

    def _rest(self) -> None:
        """Show now and then that it lives, and at once where another episode has begun."""
        if self._cut:
            self.eye.publish(self._with_news(self._shown(self.rig.place())))
        elif self.news.is_due:
            self.eye.publish(self._with_news({}))
        self._clock.sleep(REST)
        self._due = self._clock.now()

    def _hear(self) -> None:
        """Do what people asked for."""
        for name, value in newest(self._controls, self.eye.commands()):
            if name == "pull":
                self.rig.disturbances.pull(int(value[0]), np.array(value[1:], dtype=float))
            elif name in self._controls:
                try:
                    self.change(name, self._control(name).check(value))
                except ConfigError as error:
                    self.say(str(error))
            self.news.changed = True
        for news in (self.newer(), self.tape.news() if self.tape is not None else None):
            if news is not None:
                self.say(news)

    def _control(self, name: str) -> Control:
        """A control as it is now: recordings come while it drives."""
        control = self._controls[name]
        return control if self.tape is None else self.tape.present(control)

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
            case _ if name in PLANNER:
                self.begin_anew()
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
