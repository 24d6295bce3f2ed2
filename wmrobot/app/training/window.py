"""The window of `train view=true`: curves, and the latest evaluation as it was driven."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from wmrobot.app.rollout import Rollout
from wmrobot.app.training.audience import Audience
from wmrobot.app.training.settings import TrainConfig
from wmrobot.app.viewing.awake import BEAT_EVERY, keep_awake
from wmrobot.core.errors import DataError
from wmrobot.core.spec import file_name
from wmrobot.envs.vector import VectorEnv
from wmrobot.view.layout import Chart, Layout
from wmrobot.view.recorded.recording import Recorder
from wmrobot.view.window import Window

CHARTS = (
    Chart(title="return", series=("evaluation", "training episodes"), x_label="decisions",
          spans=True),
    Chart(title="losses of the model", x_label="decisions", spans=True,
          series=("consistency_loss", "reward_loss", "value_loss")),
    Chart(title="value that the prior expects", series=("value_mean",), x_label="decisions"),
    Chart(title="entropy of the prior", series=("prior_entropy",), x_label="decisions"),
)  # fmt: skip


class Watcher(Audience):
    """Shows a run while it trains; what it costs the training is a message now and then.

    Args:
        cfg: The run.
    """

    def __init__(self, cfg: TrainConfig) -> None:
        self._cfg, self._window = cfg, Window()
        self._beaten = -math.inf
        self._recorder: Recorder | None = None
        self._scene, self._best = 0, math.nan
        self._shown = ""  # the newest episode's file
        self._time = -math.inf  # of the simulation, at the newest state [s]

    def __enter__(self) -> Self:
        name = file_name(self._cfg.task)
        layout = Layout(title=f"training {name}", charts=CHARTS)
        try:
            link = self._window.open(layout)
        except BaseException:
            self._window.close()
            raise
        print(f"  in a window: {link}", file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._window.close()

    def beat(self, doing: str) -> None:
        """Let the window know, now and then, that the run is alive, and what it is doing."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_EVERY:
            self._beaten = now
            self._window.publish({"facts": {"now": doing}})

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Tell the window what the run is doing while one long call lasts."""
        self._beaten = -math.inf  # at once
        self.beat(doing)
        with keep_awake(lambda: self.beat(doing)):
            yield
        self._beaten = -math.inf  # what comes next is told at once, too

    def train(self, decisions: int, row: Mapping[str, float]) -> None:
        """Show a row of train.csv."""
        curves = {name: value for name, value in row.items() if math.isfinite(value)}
        if "episode_reward" in curves:
            curves["training episodes"] = curves["episode_reward"]
        self._show(decisions, curves, {})

    def evaluation(self, decisions: int, rollout: Rollout) -> None:
        """Show an evaluation's return, and its first episode again and again."""
        found = rollout.mean_reward
        self._best = found if math.isnan(self._best) else max(self._best, found)
        told = f"return {found:.1f} at {decisions:,} decisions, best so far {self._best:.1f}"
        self._show(decisions, {"evaluation": found}, {"evaluation": told})
        if self._recorder is not None and len(self._recorder) and self._window.is_open:
            self._show_episode(self._recorder, f"episode-{decisions}.npz")
        self._recorder, self._time = None, -math.inf

    def _show_episode(self, recorder: Recorder, name: str) -> None:
        try:
            recorder.finish().save(self._window.folder / name)
        except OSError as error:  # what is shown must not end what is learned
            print(f"  view: {name} is not shown ({error.strerror})", file=sys.stderr, flush=True)
            return
        self._window.publish({"episode": name, "say": "its first episode is shown"})
        for path in self._window.folder.glob("episode-*.npz"):
            if path.name not in (name, self._shown):  # the last one may still be opened
                path.unlink(missing_ok=True)
        self._shown = name

    def look(self, env: VectorEnv) -> None:
        """Remember the state of the first row of an evaluation, while its first episode lasts."""
        self.beat("evaluating")
        physics, spec = env.physics(0), env.task_spec
        if not self._window.is_open:
            return  # its last words stand above; the run goes on without it
        if physics is None or physics.time() <= self._time:
            self._time = math.inf
            return
        self._time = physics.time()
        if self._recorder is None:
            try:
                self._scene = self._window.publish_model(physics.model.ptr)
            except DataError as error:
                print(f"  {error}", file=sys.stderr, flush=True)
                self._time = math.inf
                return
            self._recorder = Recorder(spec.name, spec.control_dt)
        data = physics.data.ptr
        row: dict[str, Any] = {"qpos": data.qpos.copy(), "scene": float(self._scene)}
        if len(data.mocap_pos):
            row |= {"mocap_pos": data.mocap_pos.copy(), "mocap_quat": data.mocap_quat.copy()}
        self._recorder.add(row)

    def _show(self, decisions: int, curves: Mapping[str, float], facts: Mapping[str, str]) -> None:
        self._window.publish({"time": float(decisions), "series": curves, "facts": facts})
