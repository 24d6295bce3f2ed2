"""The page of a drive: figures, tables and one drawing, in a file that stands alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wmrobot.app.reporting.html_page import (
    Commands,
    Drawing,
    Figures,
    Paragraph,
    Section,
    Table,
    render_report,
)
from wmrobot.runtime.driving.drive_log import Sample

QUANTILES = ("p50", "p99", "p99_9", "max")
WIDTH, HEIGHT, LEFT = 760, 150, 46


def page(document: Mapping[str, Any], trace: Sequence[Sample]) -> str:
    """HTML of a drive."""
    return render_report(
        title=f"{document['task']}, driven in real time",
        intro=f"{document['bundle']} on {document['robot']}, {document['machine']['machine']}, "
        f"kernel {document['machine']['kernel']}",
        sections=[
            Section(title="What came of it", blocks=[_headline(document)]),
            Section(title="Time", blocks=_time(document)),
            Section(title="The newest ticks", blocks=_drawings(trace)),
            Section(title="Guard", blocks=_guard(document["guard"])),
            Section(title="Again", blocks=[_again(document)]),
        ],
    )


def _headline(d: Mapping[str, Any]) -> Figures:
    ticks, real, waited = d["ticks"], d["returns"]["real_time"], d["returns"]["lockstep"]
    missed = f"{ticks['missed']} of {ticks['total']}"
    if ticks["interval"] is not None:
        missed += f" ({ticks['interval'][0]:.2%} to {ticks['interval'][1]:.2%})"
    return Figures(
        items=[
            ("Return, real time", _number(real["mean"], ".1f")),
            ("Return, lock-step", _number(waited and waited["mean"], ".1f")),
            ("Ticks without a fresh plan", missed),
            ("Rate", f"{d['rate_hz']['robot']:.2f} Hz"),
            ("Seconds", f"{d['seconds']:.1f}"),
            ("Action rate", _number(d["motion"]["action_rate_per_s"], ".2f") + " /s"),
            ("Action jerk", _number(d["motion"]["action_jerk_per_s2"], ".0f") + " /s2"),
            ("Ended by", d["over"]),
        ]
    )


def _time(d: Mapping[str, Any]) -> list[Table]:
    groups = (
        ("How late something was", d["lateness_ms"]),
        ("What planning takes, by stage, and all from reading to command", d["planning_ms"]),
        ("On the way", d["transport_ms"]),
    )
    tables = [
        Table(
            header=["[ms]", "count", "p50", "p99", "p99.9", "max"],
            rows=[
                [
                    name.replace("_", " "),
                    f"{row['count']:.0f}",
                    *(f"{row[q]:.3f}" for q in QUANTILES),
                ]
                for name, row in rows.items()
                if row is not None
            ],
            caption=caption,
        )
        for caption, rows in groups
    ]
    rungs = Table(
        header=list(d["ticks"]["by_rung"]),
        rows=[[str(n) for n in d["ticks"]["by_rung"].values()]],
        caption="Running ticks by where the action in effect came from, as the robot counts them",
    )
    return [rungs, *tables]


def _drawings(trace: Sequence[Sample]) -> list[Drawing | Paragraph]:
    if len(trace) < 2:
        return [Paragraph(text="Nothing was driven.")]
    seconds = [sample.seconds for sample in trace]
    most = max(max(sample.due_ms, sample.taken_ms) for sample in trace)
    taken = _chart(
        seconds,
        (0.0, most, "ms"),
        [([sample.taken_ms for sample in trace], "var(--mark)"),
         ([sample.due_ms for sample in trace], "var(--soft)")],
        [sample.seconds for sample in trace if not sample.fresh],
    )  # fmt: skip
    actions = [([sample.action for sample in trace], "var(--mark)")]
    return [
        Drawing(
            svg=taken,
            caption="Time from reading to command (blue), and the time there was (grey). Marks at "
            "the foot: no fresh plan was sent.",
        ),
        Drawing(
            svg=_chart(seconds, (-1.0, 1.0, ""), actions, ()),
            caption="First entry of the action in effect.",
        ),
    ]


def _chart(
    seconds: Sequence[float],
    axis: tuple[float, float, str],
    lines: Iterable[tuple[Sequence[float], str]],
    marks: Iterable[float],
) -> str:
    """Lines over time as an SVG; `axis` is low, high and unit."""
    low, high, unit = axis
    begin, length = seconds[0], max(seconds[-1] - seconds[0], 1e-9)

    def across(value: float) -> float:
        return LEFT + (value - begin) / length * (WIDTH - LEFT)

    def down(value: float) -> float:
        return 8 + (high - value) / max(high - low, 1e-9) * (HEIGHT - 28)

    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{down(v):.1f}" y2="{down(v):.1f}" '
        f'stroke="var(--line)"/><text x="0" y="{down(v) + 4:.1f}">{v:.3g} {unit}</text>'
        for v in (low, (low + high) / 2, high)
    ]
    for values, colour in lines:
        points = " ".join(
            f"{across(x):.1f},{down(y):.1f}" for x, y in zip(seconds, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    foot = down(low)
    parts += [
        f'<line x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{foot - 6:.1f}" y2="{foot:.1f}" '
        'stroke="var(--ink)" stroke-width="2"/>'
        for x in marks
    ]
    ends = f'<text x="{LEFT}" y="{HEIGHT - 2}">{begin:.0f} s</text>'
    ends += f'<text x="{WIDTH - 40}" y="{HEIGHT - 2}">{seconds[-1]:.0f} s</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}{ends}</svg>'


def _guard(status: Mapping[str, Any] | None) -> list[Table | Paragraph]:
    if status is None:
        return [Paragraph(text="The guard told nothing.")]
    counted = [
        (f"{group}: {name}", str(n))
        for group in ("interventions", "refused", "dropped_from_planner", "dropped_from_robot")
        for name, n in (status.get(group) or {}).items()
        if n
    ]
    tables: list[Table | Paragraph] = [Paragraph(text=f"In the end: {status.get('state', '?')}.")]
    if counted:
        tables.append(Table(header=["what", "times"], rows=counted, caption="Counted"))
    if transitions := status.get("transitions"):
        begin_ns = transitions[0]["time_ns"]
        rows = [
            [f"{(t['time_ns'] - begin_ns) * 1e-9:.3f}", t["from"], t["to"], t["reason"]]
            for t in transitions
        ]
        header = ["time [s]", "from", "to", "why"]
        tables.append(Table(header=header, rows=rows, caption="Changes of state"))
    return tables


def _again(d: Mapping[str, Any]) -> Commands:
    items = [(f"wmrobot drive bundle={d['bundle']} robot={d['robot']}", "drive again")]
    if d["recording"] is not None:
        path = d["recording"]["path"]
        items.append((f"wmrobot drive replay={path}", "make the recorded plans again, compare"))
        items.append((f"wmrobot view replay={path}", "look at the recorded drive"))
    return Commands(items=items)


def _number(value: float | None, form: str) -> str:
    return "not known" if value is None else format(value, form)
