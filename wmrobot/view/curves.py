"""What a window remembers of the numbers it was told, and the diagrams made of it."""

from collections import deque

import numpy as np
import viser
from viser import uplot

from wmrobot.view.layout import KEPT, Chart, Layout

COLOURS = ("#1f77b4", "#ff7a00", "#2ca02c", "#9467bd", "#d62728", "#17becf", "#8c564b", "#7f7f7f")


class Curves:
    """Diagrams over time.

    Args:
        server: Whose page they are on.
        layout: Which there are.
    """

    def __init__(self, server: viser.ViserServer, layout: Layout) -> None:
        self._x: dict[str, deque[float]] = {}
        self._y: dict[str, dict[str, deque[float]]] = {}
        self._handles: dict[str, viser.GuiUplotHandle] = {}
        for chart in layout.charts:
            self._handles[chart.title] = _make_chart(server, chart)
        self._charts = layout.charts
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        for chart in self._charts:
            self._x[chart.title] = deque(maxlen=KEPT)
            self._y[chart.title] = {name: deque(maxlen=KEPT) for name in chart.series}

    def add(self, x: float, newest: dict[str, float | None]) -> None:
        """Take the newest value of each curve; a chart without one stays as it is."""
        for chart in self._charts:
            if not any(name in newest for name in chart.series):
                continue
            self._x[chart.title].append(x)
            for name in chart.series:
                value = newest.get(name)
                self._y[chart.title][name].append(np.nan if value is None else value)

    def amend(self, name: str, ago: int, value: float) -> None:
        """Tell a curve's value that is known only later: that of `ago` points before the newest."""
        for chart in self._charts:
            if name in chart.series and len(self._y[chart.title][name]) > ago:
                self._y[chart.title][name][-1 - ago] = value

    def show(self) -> None:
        """Send what there is."""
        for chart in self._charts:
            if self._x[chart.title]:
                columns = [self._x[chart.title], *self._y[chart.title].values()]
                self._handles[chart.title].data = drawable(np.array(columns))


class PlanChart:
    """The planned sequence of one actuator after what was executed, with its spread.

    Args:
        server: Whose page it is on.
        name: Of the actuator.
    """

    PAST = 20  # decisions shown before now

    def __init__(self, server: viser.ViserServer, name: str) -> None:
        grey, blue = "#888888", "#0078ff"
        self._past: deque[float] = deque(maxlen=self.PAST)
        self._handle = server.gui.add_uplot(
            (np.array([0.0, 1.0]), *([np.zeros(2)] * 4)),
            (
                {},
                {"label": "executed", "stroke": grey, "width": 2},
                {"label": "planned", "stroke": blue, "width": 2, "points": {"show": True}},
                {"label": "+ spread", "stroke": "#0078ff55", "width": 1},
                {"label": "- spread", "stroke": "#0078ff55", "width": 1},
            ),
            bands=({"series": (3, 4), "fill": "#0078ff22"},),
            scales={"x": {"time": False}, "y": {"range": (-1.1, 1.1)}},
            title=f"{name} [-1 to 1], decisions from now",
            legend={"show": False},
            height=130,
        )

    def clear(self) -> None:
        """Begin anew."""
        self._past.clear()

    def add(self, action: float) -> None:
        """Take what was executed."""
        self._past.append(action)

    def show(self, mean: np.ndarray, std: np.ndarray, gap: int = 0) -> None:
        """Send a plan (H,) and its spread (H,), `gap` decisions after what was executed last."""
        past, horizon = list(self._past), len(mean)
        x = np.concatenate([np.arange(-len(past), 0.0), np.arange(gap, gap + horizon)])
        unplanned, blank = np.full(len(past), np.nan), np.full(horizon, np.nan)
        self._handle.data = (
            x,
            np.concatenate([past, blank]),
            np.concatenate([unplanned, mean]),
            # No spread before now; a gap would be bridged by the band.
            np.concatenate([past, np.clip(mean + std, -1, 1)]),
            np.concatenate([past, np.clip(mean - std, -1, 1)]),
        )


def drawable(columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Columns (1 + C, K) of a chart as uPlot can draw them: it finds no range where one begins NaN.

    Points before anything is known are left out. A curve that begins later is led to from its own
    first value, and one that never does is a single point, which makes no line.
    """
    known = np.isfinite(columns[1:])
    if not known.any():
        return tuple(columns)
    columns = columns[:, known.any(axis=0).argmax() :].copy()
    some = columns[1:][np.isfinite(columns[1:])][0]
    for curve in columns[1:]:
        if not np.isfinite(curve[0]):
            finite = curve[np.isfinite(curve)]
            curve[0] = finite[0] if len(finite) else some
    return tuple(columns)


def _make_chart(server: viser.ViserServer, chart: Chart) -> viser.GuiUplotHandle:
    lines: list[uplot.Series] = [
        {
            "label": name,
            "stroke": COLOURS[i % len(COLOURS)],
            "width": 2,
            "spanGaps": True,
            "points": {"show": False},
        }
        for i, name in enumerate(chart.series)
    ]
    return server.gui.add_uplot(
        (np.array([0.0, 1.0]), *([np.full(2, np.nan)] * len(chart.series))),
        ({"label": chart.x_label}, *lines),
        scales={"x": {"time": False}},
        title=chart.title,
        legend={"show": True, "live": False},
        height=190,
    )
