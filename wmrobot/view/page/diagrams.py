"""The left side of the page: curves, the plan of each actuator, and what the encoder sees."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import viser

from wmrobot.view.hindsight import EARNED, RETURN_STEPS
from wmrobot.view.layout import Layout
from wmrobot.view.page.curves import Curves, PlanChart

MOST_ACTUATOR_CHARTS = 6
WIDTH = 330  # [pixels]


class Diagrams:
    """All diagrams of a page.

    Args:
        server: Whose page it is.
        layout: What there is to show.
    """

    def __init__(self, server: viser.ViserServer, layout: Layout) -> None:
        self._discount = layout.discount
        self._past: deque[tuple[float, float | None]] = deque(maxlen=RETURN_STEPS + 1)
        left = server.gui.add_panel()
        left.dock_left()
        left.set_width(WIDTH)
        with left.add_tab("Curves"):
            self._curves = Curves(server, layout)
        self._plans: list[PlanChart] = []
        blank = np.full((1, len(layout.action_names)), np.nan)
        self._no_plan = self._plan = (blank, blank, 0)
        if layout.action_names:
            with left.add_tab("Plan"):
                for name in layout.action_names[:MOST_ACTUATOR_CHARTS]:
                    self._plans.append(PlanChart(server, name))
        self._camera = None
        if layout.has_camera:
            with left.add_tab("Camera"):
                blank = np.zeros((64, 64, 3), np.uint8)
                self._camera = server.gui.add_image(
                    blank, label="what the encoder sees", format="png"
                )

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message's numbers; see `layout`."""
        if message.get("cut"):
            self._curves.clear()
            for plan in self._plans:
                plan.clear()
        begins = message.get("cut") or message.get("anew")
        if begins:
            self._past.clear()
        if begins or "action" in message:  # a decision brings its own plan, or has none
            self._plan = self._no_plan
        if "series" in message:
            self._add(float(message.get("time", 0.0)), message["series"])
        names = message.get("curve_names", ())
        for time, *values in message["curve_rows"].tolist() if names else ():
            self._add(time, {n: v if v == v else None for n, v in zip(names, values, strict=True)})
        if "action" in message:
            for action in np.atleast_2d(message["action"]).tolist():
                for plan, value in zip(self._plans, action, strict=False):
                    plan.add(value)
        if "plan_mean" in message:
            gap = int(message.get("plan_gap", 0))
            self._plan = message["plan_mean"].astype(float), message["plan_std"].astype(float), gap
        if "camera" in message and self._camera is not None:
            self._camera.image = _enlarge(message["camera"])

    def skip(self) -> None:
        """Some messages were lost: the curves have a hole, and no return is added up over it."""
        self._curves.skip()
        self._past.clear()

    def show(self) -> None:
        """Send what there is."""
        self._curves.show()
        mean, std, gap = self._plan
        for index, chart in enumerate(self._plans):
            chart.show(mean[:, index], std[:, index], gap)

    def _add(self, time: float, series: dict[str, float | None]) -> None:
        self._curves.add(time, series)
        if EARNED not in series:
            self._compare_return(series)

    def _compare_return(self, series: Mapping[str, float | None]) -> None:
        """What a plan expected some decisions ago, beside what was then earned."""
        reward, value = series.get("reward"), series.get("expected return")
        if reward is None:  # what came before does not lead to what comes after
            self._past.clear()
            return
        self._past.append((reward, value))
        newest = self._past[-1][1]
        if len(self._past) <= RETURN_STEPS or newest is None:
            return
        earned = sum(self._discount**k * r for k, (r, _) in enumerate(list(self._past)[:-1]))
        earned += self._discount**RETURN_STEPS * newest
        self._curves.amend(EARNED, RETURN_STEPS, earned)


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """A small picture with every pixel four times as wide."""
    factor = max(1, 256 // max(picture.shape[0], 1))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
