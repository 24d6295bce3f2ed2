"""The page and the plots: complete, self-contained, and safe with any text."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wmrobot.app.reporting.html_page import (
    Commands,
    Figures,
    Paragraph,
    Picture,
    Section,
    Table,
    Video,
    write_report,
)
from wmrobot.app.reporting.plots import Curve, curve_png
from wmrobot.core.errors import DataError

EVIL = """<script>alert("x")</script> & 'quoted'"""


class Page(HTMLParser):
    """Every tag with its attributes, and every text, of a page whose tags must nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


def write_page(folder: Path, text: str = "plain") -> str:
    film = folder / "film.mp4"
    film.write_bytes(b"film bytes")
    write_report(
        folder / "index.html",
        title=text,
        intro=text,
        sections=[
            Section(
                title=text,
                blocks=[
                    Paragraph(text=text),
                    Figures(items=[(text, text)]),
                    Table(
                        header=["agent", text], rows=[["planner", text]], caption=text, highlight=0
                    ),
                    Picture(data=b"\x89PNG picture bytes", caption=text),
                    Video(data=film, caption=text),
                    Commands(items=[(text, text)]),
                ],
            )
        ],
    )
    return (folder / "index.html").read_text(encoding="utf-8")


def test_a_page_asks_the_network_for_nothing(tmp_path: Path) -> None:
    page = write_page(tmp_path)
    assert not re.search(r"https?:|url\(|@import|<script|<iframe", page)
    links = [v for _, a in Page(page).tags for k, v in a.items() if k in ("src", "href")]
    assert len(links) == 3
    assert all(link and link.startswith("data:") for link in links)


def test_pictures_and_films_are_inside(tmp_path: Path) -> None:
    sources = {tag: a["src"] for tag, a in Page(write_page(tmp_path)).tags if "src" in a}
    for tag, kind, content in (
        ("img", "image/png", b"\x89PNG picture bytes"),
        ("video", "video/mp4", b"film bytes"),
    ):
        head, data = (sources[tag] or "").split(",")
        assert head == f"data:{kind};base64"
        assert base64.b64decode(data) == content


def test_text_stays_text(tmp_path: Path) -> None:
    page = Page(write_page(tmp_path, EVIL))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.texts.count(EVIL) == 14
    assert dict(page.tags)["img"]["alt"] == EVIL


def test_a_table_has_its_cells_in_order(tmp_path: Path) -> None:
    page = write_page(tmp_path)
    assert "<tr class=best><td>planner</td><td>plain</td></tr>" in page
    assert '<th scope="col">agent</th><th scope="col">plain</th>' in page


def test_a_page_suits_light_and_dark(tmp_path: Path) -> None:
    page = write_page(tmp_path)
    assert 'name="color-scheme" content="light dark"' in page
    assert "prefers-color-scheme: dark" in page


def make_curves() -> list[Curve]:
    decisions = np.array([0.0, 1000.0, 2000.0])
    returns = np.array([[0.0, 50.0, 100.0], [0.0, 70.0, np.nan]])
    return [
        Curve(label="nano", decisions=decisions, returns=returns),
        Curve(label="published", decisions=decisions, returns=returns[:1], reference=True),
    ]


def test_a_curve_is_a_png_of_the_stated_size(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    path.write_bytes(curve_png(make_curves(), title="cartpole-swingup"))
    with Image.open(path) as picture:
        assert picture.size == (1120, 640)


def test_equal_curves_give_equal_pictures() -> None:
    assert curve_png(make_curves(), title="a") == curve_png(make_curves(), title="a")
    assert curve_png(make_curves(), title="a") != curve_png(make_curves()[:1], title="a")


def test_a_point_that_no_seed_has_is_left_out() -> None:
    curve = Curve(label="x", decisions=np.arange(3.0), returns=np.full((2, 3), np.nan))
    assert curve_png([curve])[:4] == b"\x89PNG"


def test_a_curve_of_wrong_shape_is_refused() -> None:
    with pytest.raises(DataError) as raised:
        Curve(label="nano", decisions=np.arange(3.0), returns=np.zeros((2, 4)))
    assert str(raised.value) == ("curve 'nano': expected returns of shape (S, 3), got (2, 4)")
