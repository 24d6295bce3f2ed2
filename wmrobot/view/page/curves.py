"""What a window remembers of the numbers it was told, and the diagrams made of it."""

from collections import deque

import numpy as np
import viser
from viser import _messages, uplot

from wmrobot.view.layout import KEPT, Chart, Layout

COLOURS = ("#1f77b4", "#ff7a00", "#2ca02c", "#9467bd", "#d62728", "#17becf", "#8c564b", "#7f7f7f")


class Curves:
    """Diagrams over time.

    Args:
        server: Whose page they are on.
        layout: Which there are.
    """

    def __init__(self, server: viser.ViserServer, layout: Layout) -> None:
        self._server = server
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
            self._clear(chart)

    def _clear(self, chart: Chart) -> None:
        self._x[chart.title] = deque(maxlen=KEPT)
        self._y[chart.title] = {name: deque(maxlen=KEPT) for name in chart.series}

    def add(self, x: float, newest: dict[str, float | None]) -> None:
        """Take the newest value of each curve; a chart without one stays as it is."""
        for chart in self._charts:
            if not any(name in newest for name in chart.series):
                continue
            times = self._x[chart.title]
            if times and x < times[-1]:  # the message that another episode begins was lost
                self._clear(chart)
            self._x[chart.title].append(x)
            for name in chart.series:
                value = newest.get(name)
                self._y[chart.title][name].append(np.nan if value is None else value)

    def skip(self) -> None:
        """Leave a hole: what came after the newest points is not known."""
        for chart in self._charts:
            if x := self._x[chart.title]:
                x.append(x[-1])
                for values in self._y[chart.title].values():
                    values.append(np.nan)

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
                _send(self._server, self._handles[chart.title], np.array(columns))


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


def with_holes(columns: np.ndarray) -> tuple[list[float | None], ...]:
    """Columns (1 + C, K) of a chart with null for NaN.

    At null uPlot leaves a hole; it draws a line over NaN, or nothing where a curve begins with one.
    """
    return tuple([value if value == value else None for value in row] for row in columns.tolist())


def _send(server: viser.ViserServer, handle: viser.GuiUplotHandle, columns: np.ndarray) -> None:
    """Show columns (1 + C, K); viser's own way makes numbers of what is none."""
    told = {"data": with_holes(columns)}
    message = _messages.GuiUpdateMessage(handle._impl.uuid, told)
    server.gui._websock_interface.queue_message(message)


def _make_chart(server: viser.ViserServer, chart: Chart) -> viser.GuiUplotHandle:
    lines: list[uplot.Series] = [
        {
            "label": name,
            "stroke": COLOURS[i % len(COLOURS)],
            "width": 2,
            "spanGaps": chart.spans,
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
