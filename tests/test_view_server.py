"""The window's own process, run here: where it is reached, and what it survives."""

import socket
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs wmrobot[view]")

from wmrobot.app.viewing import announce as announce_module
from wmrobot.app.viewing.announce import announce
from wmrobot.view.hosts import reached_at
from wmrobot.view.layout import Layout
from wmrobot.view.live_layout import CHARTS, record_controls
from wmrobot.view.mailbox import SLOTS, Mailbox
from wmrobot.view.packet import pack
from wmrobot.view.page.server import Page, free_port


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    Mailbox(tmp_path / "mailbox", create=True)
    ours, theirs = Pipe()
    controls = record_controls((), is_run=False, has_scene=True)
    layout = Layout(title="x", controls=controls, charts=CHARTS, action_names=("motor",))
    page = Page(tmp_path, theirs, layout, ("127.0.0.1", 18_600))
    yield page
    page._server.stop()
    ours.close()


def test_an_episode_that_is_gone_already_is_told(page: Page) -> None:
    page._take({"episode": "episode-3.npz"}, 0.0)  # two newer ones have come since
    (said,) = page._readout._log
    assert said.startswith("not shown: ")
    assert said.endswith("episode-3.npz: expected a recorded rollout, got something else")


PLAN = {"plan_mean": np.full((3, 1), 0.5), "plan_std": np.zeros((3, 1))}
ACTION = {"action": np.zeros(1)}


def planned(page: Page) -> list[float]:
    """What is shown of the motor's plan."""
    page._diagrams.show()
    _, _, plan, *_ = page._diagrams._plans[0]._handle.data
    return [value for value in plan if np.isfinite(value)]


@pytest.mark.parametrize("over", [{"anew": True}, {"cut": True}, ACTION])
def test_a_plan_that_is_over_is_not_shown(page: Page, over: dict[str, Any]) -> None:
    assert planned(page) == []
    page._take({**ACTION, **PLAN}, 0.0)
    page._take({"facts": {}}, 0.1)
    assert planned(page) == [0.5, 0.5, 0.5]
    page._take(over, 0.2)
    assert planned(page) == []
    page._take({**over, **PLAN}, 0.3)
    assert planned(page) == [0.5, 0.5, 0.5]


def test_lost_messages_leave_a_hole(page: Page) -> None:
    loop = Mailbox(page._folder / "mailbox")
    for tick in range(10 * SLOTS):
        reward = {"reward": 1.0, "expected return": 5.0}
        loop.write(pack({"time": float(tick), "series": reward, **ACTION}))
        if tick in (2, 10 * SLOTS - 1):
            page._read(0.0)
    times, rewards = reward_curve(page)
    assert times == [0, 1, 2, 2, *range(9 * SLOTS, 10 * SLOTS)]
    np.testing.assert_array_equal(rewards, [1, 1, 1, np.nan, *[1] * SLOTS])
    assert len(page._diagrams._past) == SLOTS  # no return is added up over the hole
    page._take({"time": 0.0, "series": {"reward": 2.0}}, 0.0)  # that an episode began was lost
    assert reward_curve(page) == ([0], [2])


def reward_curve(page: Page) -> tuple[list[float], list[float]]:
    """Its times and values."""
    curves, title = page._diagrams._curves, CHARTS[0].title
    return list(curves._x[title]), list(curves._y[title]["reward"])


def test_a_slider_is_as_long_as_what_is_played(page: Page) -> None:
    page._take({"highs": {"position": 7.5}, "values": {"position": 7.0}}, 0.0)
    widget = page._panel._widgets["position"]
    assert (widget.min, widget.max, widget.value) == (0.0, 7.5, 7.0)
    assert "(0 to 7.5; " in widget.hint


def test_facts_of_who_decided_before_are_gone(page: Page) -> None:
    page._take({"facts": {"decoder off by": "1 rad"}, "guard": "active", "stages_ms": {}}, 0.0)
    page._take({"anew": True, "facts": {"controller": "another"}}, 0.1)
    assert page._readout._facts == {"controller": "another"}
    assert page._readout._stages == {}


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
        ("robot.local", "robot.local"),
    ],
)
def test_addresses_are_spelt_as_browsers_want_them(host: str, shown: str) -> None:
    assert reached_at(host) == shown


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_page_is_reached_by_ipv6(tmp_path: Path) -> None:
    Mailbox(tmp_path / "mailbox", create=True)
    ours, theirs = Pipe()
    page = Page(tmp_path, theirs, Layout(title="x"), ("::1", free_port("::1", 18_610)))
    link = f"http://[::1]:{page._server.get_port()}/{page._gate.token}/"
    assert link in ours.recv_bytes().decode()
    with urlopen(link) as answer:
        assert answer.status == 200
    page._server.stop()


def test_no_command_line_tells_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(announce_module.webbrowser, "open", opened.append)
    link = "http://[::1]:8081/secret/"
    window: Any = SimpleNamespace(host="::1", port=8081, wanted=8080, link=link, folder=tmp_path)
    announce(window, "a cart", open_it=True)
    assert opened == [(tmp_path / "open.html").as_uri()]
    assert f"url={link}" in (tmp_path / "open.html").read_text()
    assert capsys.readouterr().out.splitlines() == [
        "port 8080 is in use: took 8081",
        f"a cart in a window: {link}",
        "ctrl-c ends it; from another machine: ssh -L 8081:[::1]:8081 <this machine>",
    ]
