"""The miss ladder over the newest ticks, as a strip: one colour a rung."""

from collections import Counter, deque
from collections.abc import Iterable
from itertools import groupby

TICKS = 200
COLOURS = {
    "FRESH": "#2ca02c", "SHIFTED": "#e8b500", "PRIOR": "#ff7a00", "HOLD": "#d62728",
    "STOP": "#444444",
}  # fmt: skip


class Rungs:
    """Remembers the rung of every tick that it is told of."""

    def __init__(self) -> None:
        self._newest: deque[str] = deque(maxlen=TICKS)

    def clear(self) -> None:
        """Begin anew."""
        self._newest.clear()

    def add(self, rungs: Iterable[str]) -> None:
        """Take ticks, oldest first; a rung that does not exist is left out."""
        self._newest.extend(rung for rung in rungs if rung in COLOURS)

    def html(self) -> str:
        """The strip, newest tick on the right; empty where nothing was told."""
        if not self._newest:
            return ""
        share, counts = 100 / TICKS, Counter(self._newest)
        parts = "".join(
            f'<div title="{rung}" style="width:{share * len(list(run)):.1f}%;'
            f'background:{COLOURS[rung]}"></div>'
            for rung, run in groupby(self._newest)
        )
        legend = " ".join(
            entry(COLOURS[rung], f"{rung} {counts[rung]}") for rung in COLOURS if counts[rung]
        )
        return (
            f"<div>rungs of the newest {len(self._newest)} ticks</div>"
            '<div style="display:flex;justify-content:flex-end;height:10px;background:#8882;'
            f'margin:3px 0">{parts}</div>'
            f'<div style="font-size:11px;margin-bottom:6px">{legend}</div>'
        )


def entry(colour: str, text: str, mark: str = "&#9632;") -> str:
    """One entry of a legend, which is not broken over lines."""
    return (
        f'<span style="white-space:nowrap"><span style="color:{colour}">{mark}</span> {text}</span>'
    )
