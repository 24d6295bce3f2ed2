"""What a window says in words and bars."""

from collections import deque
from collections.abc import Mapping
from html import escape
from typing import Any

import viser

from wmrobot.view.layout import Layout
from wmrobot.view.rungs import Rungs, entry

COLOURS = {
    "encode": "#1f77b4", "roll forward": "#17becf", "prior": "#2ca02c", "search": "#ff7a00",
    "transport": "#9467bd",
}  # fmt: skip
LOG_LINES = 6
NEW = 0.05  # share of the newest decision in the mean that is shown


class Readout:
    """Facts, the time of planning against its deadline, and the newest lines of the log.

    Args:
        server: Whose page it is on.
        layout: Its stages of planning, and when the next decision is due where nobody tells.
    """

    def __init__(self, server: viser.ViserServer, layout: Layout) -> None:
        self._names, self._deadline = layout.stages, layout.control_dt * 1e3
        self._rungs = Rungs()
        self._box = server.gui.add_html("")
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._stages: dict[str, float] = {}
        self._facts: dict[str, str] = {}

    def take(self, message: Mapping[str, Any]) -> None:
        """Take what a message tells in words, bars and rungs; see `layout`."""
        if message.get("cut") or message.get("anew"):
            self._stages.clear()
            self._rungs.clear()
        if message.get("anew"):
            self._facts.clear()  # those that still hold are told at once
        facts = {part: str(message[part]) for part in ("ladder", "guard") if part in message}
        self.add_facts({**facts, **message.get("facts", {})})
        if "stages_ms" in message:
            self.add_stages(message["stages_ms"], message.get("deadline_ms"))
        self._rungs.add(message.get("rungs", ()))
        if "say" in message:
            self.say(message["say"])

    def say(self, line: str) -> None:
        """Add a line to the log."""
        self._log.append(line)

    def add_stages(self, stages_ms: Mapping[str, float], deadline_ms: float | None = None) -> None:
        """Take one decision's times [ms]; the bar shows a mean over about twenty."""
        for name in self._names:
            new = float(stages_ms.get(name, 0.0))
            self._stages[name] = self._stages.get(name, new) * (1 - NEW) + NEW * new
        if deadline_ms is not None:
            self._deadline += NEW * (deadline_ms - self._deadline)

    def add_facts(self, facts: Mapping[str, str]) -> None:
        """Take newest lines by name; an empty one is not shown."""
        self._facts.update(facts)

    def show(self) -> None:
        """Send what there is."""
        self._box.content = (
            '<div style="font:13px system-ui,sans-serif;padding:0 .75em .5em">'
            + self._bar()
            + self._rungs.html()
            + _table(self._facts)
            + _lines(self._log)
            + "</div>"
        )

    def _bar(self) -> str:
        if not self._stages:
            return ""
        total = sum(self._stages.values())
        full = max(self._deadline * 1.25, total)
        parts = "".join(
            f'<div title="{name} {self._stages[name]:.2f} ms" style="width:'
            f'{100 * self._stages[name] / full:.2f}%;background:{COLOURS[name]}"></div>'
            for name in self._names
        )
        mark = 100 * self._deadline / full
        legend = " ".join(
            entry(COLOURS[name], f"{name} {self._stages[name]:.1f}") for name in self._names
        )
        return (
            f"<div>planning {total:.1f} ms of {self._deadline:.0f} ms</div>"
            '<div style="position:relative;height:16px;background:#8882;margin:3px 0">'
            f'<div style="display:flex;height:100%">{parts}</div>'
            f'<div title="deadline" style="position:absolute;top:-2px;bottom:-2px;left:{mark:.2f}%;'
            'border-left:2px solid #d62728"></div></div>'
            f'<div style="font-size:11px;margin-bottom:6px">{legend} [ms] '
            f"&nbsp;{entry('#d62728', 'deadline', mark='|')}</div>"
        )


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><td style="opacity:.65;padding-right:.8em;vertical-align:top;width:92px">'
        f'{escape(name)}</td><td style="overflow-wrap:anywhere">{escape(text)}</td></tr>'
        for name, text in facts.items()
        if text
    )
    return f'<table style="border-spacing:0;font-size:12px">{rows}</table>' if rows else ""


def _lines(log: "deque[str]") -> str:
    if not log:
        return ""
    text = "<br>".join(escape(line) for line in log)
    return f'<div style="font-size:11px;opacity:.7;margin-top:6px">{text}</div>'
