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
        band: (2, N) interval around the mean, drawn as an area; None for none.
        single: Whether it is one figure at each point, not a course: drawn as marks.
    """

    label: str
    decisions: np.ndarray
    returns: np.ndarray
    reference: bool = False
    band: np.ndarray | None = None
    single: bool = False

    def __post_init__(self) -> None:
        if self.returns.ndim != 2 or self.returns.shape[1:] != self.decisions.shape:
            raise DataError(
                f"curve '{self.label}': expected returns of shape (S, {self.decisions.size}), "
                f"got {self.returns.shape}"
            )


_MOST_INSIDE = 4  # curves whose legend finds room among them
MARKS = "sDv^P*Xh<>"
"""For methods of which single figures were published."""


def _add(axes: Any, curve: Curve, colour: str, mark: str) -> None:
    """Draw one curve on matplotlib's axes."""
    mean = np.ma.masked_invalid(curve.returns).mean(axis=0)  # no warning where all are NaN
    if curve.single:
        axes.plot(curve.decisions, mean, mark, color=colour, ms=4, mfc="none", label=curve.label)
        return
    label, many = curve.label, len(curve.returns) > 1
    if many:
        label += f" (mean of {len(curve.returns)} seeds)"
        style = "--" if curve.reference else "-"
        for seed in curve.returns:
            axes.plot(curve.decisions, seed, style, color=colour, lw=0.8, alpha=0.45)
    if curve.band is not None:
        axes.fill_between(curve.decisions, *curve.band, color=colour, alpha=0.15, lw=0)
    if curve.reference:
        axes.plot(curve.decisions, mean, "--", color=colour, lw=1.2, label=label)
    else:
        axes.plot(curve.decisions, mean, "o-", color=colour, lw=2, ms=3, label=label)


def curve_png(
    curves: Sequence[Curve],
    *,
    title: str = "",
    x_label: str = "decisions",
    y_label: str = "return of an evaluation",
    log: bool = False,
) -> bytes:
    """Curves as a PNG of 1120 x 640 pixels: return of an evaluation against decisions.

    Args:
        curves: What to draw, lowest first.
        title: Above it.
        x_label: Along it, where that is something else.
        y_label: Beside it, where that is something else.
        log: Whether its height is logarithmic.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise MissingExtraError(
            "plots need matplotlib: pip install '.[train]' in its checkout"
        ) from None
    with mpl.rc_context({"font.size": 9}):
        beside = len(curves) > _MOST_INSIDE
        size = (7.2 if beside else 5.6, 3.2)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
        axes = figure.add_subplot()
        colours = iter(COLOURS * len(curves))
        marks = iter(MARKS * len(curves))
        for curve in curves:
            mark = next(marks) if curve.single else ""
            _add(axes, curve, "#6b7280" if curve.reference else next(colours), mark)
        if log:
            axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(title, loc="left", fontsize=10)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(visible=True, color="#e3e6ea", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if beside:
            figure.legend(frameon=False, fontsize=8, loc="outside right upper")
        elif curves:
            axes.legend(frameon=False, fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()
