"""One HTML file that tells a run: figures, tables, curves, films, commands. It needs no network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from wmrobot.core.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Headline figures: (name, value with unit) pairs, shown large."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a header; numbers are set to the right.

    Attributes:
        header: Names of the columns.
        rows: One text per column and row.
        caption: What the table says.
        highlight: Row to set off, None for no row.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    highlight: int | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG or GIF.

    Attributes:
        data: The file's bytes, or where it lies.
        caption: What is seen.
    """

    data: bytes | Path
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG, as text that is trusted; its strokes may use `var(--mark)` and the like.

    Attributes:
        svg: The element.
        caption: What is seen.
    """

    svg: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Video:
    """An MP4.

    Attributes:
        data: The file's bytes, or where it lies.
        caption: What is seen.
    """

    data: bytes | Path
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What to type next: (command, what it does) pairs."""

    items: Sequence[tuple[str, str]]


Block = Paragraph | Figures | Table | Picture | Drawing | Video | Commands


@dataclass(frozen=True, kw_only=True)
class Section:
    """A headline and what stands below it."""

    title: str
    blocks: Sequence[Block]


def write_report(path: Path, *, title: str, sections: Sequence[Section], intro: str = "") -> None:
    """Write a page that stands alone: style, pictures and films are inside.

    Args:
        path: The file, for instance `runs/demo/index.html`.
        title: Title and first headline.
        sections: What is told, in order.
        intro: One sentence below the title.
    """
    write_atomic(path, render_report(title=title, sections=sections, intro=intro).encode())


def render_report(*, title: str, sections: Sequence[Section], intro: str = "") -> str:
    """The page itself; see `write_report`."""
    body = "\n".join(_render_section(section) for section in sections)
    lead = f'<p class="lead">{escape(intro)}</p>' if intro else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="wmrobot">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1>{lead}</header>
{body}
</main>
</body>
</html>
"""


def _render_section(section: Section) -> str:
    blocks = "\n".join(_render(block) for block in section.blocks)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>"


def _render(block: Block) -> str:
    match block:
        case Paragraph(text=text):
            return f"<p>{escape(text)}</p>"
        case Figures(items=items):
            tiles = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
                for name, value in items
            )
            return f"<dl>{tiles}</dl>"
        case Table():
            return _render_table(block)
        case Picture(data=data, caption=caption):
            source = _embed(data, "image/gif" if _read(data)[:3] == b"GIF" else "image/png")
            return _figure(f'<img alt="{escape(caption)}" src="{source}">', caption)
        case Drawing(svg=svg, caption=caption):
            return _figure(svg, caption)
        case Video(data=data, caption=caption):
            source = _embed(data, "video/mp4")
            return _figure(
                f'<video controls loop muted playsinline preload="auto" src="{source}"></video>',
                caption,
            )
        case Commands(items=items):
            rows = "".join(
                f"<li><code>{escape(command)}</code><span>{escape(what)}</span></li>"
                for command, what in items
            )
            return f'<ul class="commands">{rows}</ul>'


def _render_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "\n".join(
        f"<tr{' class=best' if i == table.highlight else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for i, row in enumerate(table.rows)
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll"><table>{caption}{body}</table></div>'


def _figure(inner: str, caption: str) -> str:
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{inner}{text}</figure>"


def _read(data: bytes | Path) -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()


def _embed(data: bytes | Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(_read(data)).decode()}"


_STYLE = """
:root { --paper: #fff; --ink: #22262b; --soft: #5b6470; --line: #e3e6ea; --tint: #f6f7f9;
  --mark: #0072b2; --best: #e8f2f9; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8eb; --soft: #9aa3ad;
  --line: #2c323a; --tint: #1d2126; --mark: #56b4e9; --best: #14303f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 0 0 .9rem; }
section { margin-top: 2.6rem; }
p { margin: .5rem 0 1rem; max-width: 46rem; }
.lead { color: var(--soft); margin: .5rem 0 0; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 0 0 1rem; }
dl div { background: var(--tint); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem .9rem; }
dt { color: var(--soft); font-size: .82rem; }
dd { margin: .1rem 0 0; font-size: 1.2rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 0 0 1.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .4rem; }
th, td { padding: .42rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
th:first-child, td:first-child { text-align: left; }
tr.best td { background: var(--best); font-weight: 600; }
figure { margin: 0 0 1.4rem; }
img, video { display: block; width: 100%; height: auto; background: #fff; border-radius: 8px;
  border: 1px solid var(--line); }
img { max-width: 760px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .4rem; }
.commands { list-style: none; margin: 0; padding: 0; }
.commands li { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: .45rem 0;
  border-bottom: 1px solid var(--line); }
code { font: .9rem/1.5 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace;
  color: var(--mark); overflow-wrap: anywhere; }
.commands span { color: var(--soft); font-size: .9rem; }
"""
