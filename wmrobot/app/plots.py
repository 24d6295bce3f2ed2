"""Learning curves as small pictures: seeds thin, their mean thick, published points dashed."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmrobot.core.errors import DataError, MissingExtraError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: What the legend calls it.
        decisions: (N,) decisions at which it was evaluated.
        returns: (S, N) mean return of each seed; NaN where a seed has no figure.
        reference: Whether it was published by others: drawn dashed and grey.
    """

    label: str
    decisions: np.ndarray
    returns: np.ndarray
    reference: bool = False

    def __post_init__(self) -> None:
        if self.returns.ndim != 2 or self.returns.shape[1:] != self.decisions.shape:
            raise DataError(
                f"curve '{self.label}': expected returns of shape (S, {self.decisions.size}), "
                f"got {self.returns.shape}"
            )


def curve_png(curves: Sequence[Curve], *, title: str = "") -> bytes:
    """Learning curves as a PNG of 1120 x 640 pixels: return of an evaluation against decisions."""
    return _draw(curves, title, "png")


def curve_svg(curves: Sequence[Curve], *, title: str = "") -> str:
    """The same as an SVG, for a page; equal input gives equal text."""
    svg = _draw(curves, title, "svg").decode()
    return svg[svg.index("<svg") :]


def _add(axes: Any, curve: Curve, colour: str) -> None:
    """Draw one curve on matplotlib's axes."""
    mean = np.ma.masked_invalid(curve.returns).mean(axis=0)  # no warning where all are NaN
    if curve.reference:
        axes.plot(curve.decisions, mean, "--", color=colour, lw=1.2, label=curve.label)
        return
    label = curve.label
    if len(curve.returns) > 1:
        label += f" (mean of {len(curve.returns)} seeds)"
        for seed in curve.returns:
            axes.plot(curve.decisions, seed, color=colour, lw=0.8, alpha=0.45)
    axes.plot(curve.decisions, mean, "o-", color=colour, lw=2, ms=3, label=label)


def _draw(curves: Sequence[Curve], title: str, kind: str) -> bytes:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise MissingExtraError("plots need matplotlib: pip install 'wmrobot[train]'") from None
    with mpl.rc_context({"svg.hashsalt": "wmrobot", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(5.6, 3.2), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
        axes = figure.add_subplot()
        colours = iter(COLOURS * len(curves))
        for curve in curves:
            _add(axes, curve, "#6b7280" if curve.reference else next(colours))
        axes.set_xlabel("decisions")
        axes.set_ylabel("return of an evaluation")
        axes.set_title(title, loc="left", fontsize=10)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(visible=True, color="#e3e6ea", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if curves:
            axes.legend(frameon=False, fontsize=8)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
