"""The page, in a real browser: Debian's chromium, headless, driven by Playwright."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from tests.test_view_driver import make_env
from tests.tiny import MODEL, PLANNER, make_card
from wmrobot.app.controllers import make_model
from wmrobot.core.random import make_generator
from wmrobot.view.driving.driver import Driver
from wmrobot.view.driving.mind import LearnedMind
from wmrobot.view.driving.rig import Rig
from wmrobot.view.layout import Layout
from wmrobot.view.live_layout import CHARTS, drive_controls, planner_controls, world_controls
from wmrobot.view.window import Window

pytest.importorskip("viser", reason="needs wmrobot[view]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs wmrobot[dev]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt install chromium"),
]

FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PATIENCE = 90_000  # [ms] a busy machine draws slowly
HARMLESS = ("GPU stall", "WebGL", "THREE.Clock")  # what a browser without a GPU says


class Show:
    """A cart that is driven in a thread of this process, and its window."""

    def __init__(self) -> None:
        import torch

        torch.manual_seed(0)
        card = make_card("cartpole-swingup")
        self.window = Window(port=18_080)
        self.mind = LearnedMind(
            model=make_model(card, torch.device("cpu")).eval(),
            base=PLANNER,
            obs_shapes=card.task.obs_shapes,
            frame_stack=MODEL.frame_stack,
            generator=make_generator(0, "test"),
        )
        self.rig = Rig(make_env, 1)
        controls = (
            *drive_controls(1, follow=False),
            *planner_controls(PLANNER, "trained"),
            *world_controls(tuple(self.rig.bodies()), self.rig.weight()),
        )
        layout = Layout(
            title="cart", controls=controls, charts=CHARTS, action_names=("slide",),
            control_dt=card.task.control_dt,
        )  # fmt: skip
        self.link = self.window.open(layout)
        self.driver = Driver(self.mind, self.rig, self.window, controls)
        self.driver.show_first()
        self._on = True
        self._thread = threading.Thread(target=self.driver.run, args=(lambda: self._on,))
        self._thread.start()

    def end(self) -> None:
        """End the loop, then the window; once."""
        if not self._on:
            return
        self._on = False
        self._thread.join()
        self.window.close()
        self.rig.close()


@pytest.fixture(scope="module")
def show() -> Iterator[Show]:
    shown = Show()
    yield shown
    shown.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def errors() -> list[str]:
    """What the first page's console says is wrong."""
    return []


@pytest.fixture(scope="module")
def page(browser: Any, show: Show, errors: list[str]) -> Any:
    """A page that stays open: opening one is what takes the time."""
    return open_page(browser, show.link, errors)


@pytest.fixture(scope="module")
def another(browser: Any, show: Show) -> Any:
    """A second person's page, by a link to a state."""
    return open_page(browser, show.link + "?horizon=4&agent=shuffled&")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots stay to be looked at."""
    return tmp_path_factory.mktemp("screenshots")


def open_page(browser: Any, link: str, said: list[str] | None = None) -> Any:
    page = browser.new_page(viewport={"width": 900, "height": 560})
    page.set_default_timeout(PATIENCE)
    if said is not None:
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
    few_pixels = "fixedDpr=0.4"  # there is no GPU here
    page.goto(f"{link}{'' if link.endswith('&') else '?'}{few_pixels}")
    page.get_by_text("One decision").wait_for()
    return page


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE / 1e3
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def picture(page: Any, path: Path) -> np.ndarray:
    """The middle of the page: the scene alone."""
    page.screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)[60:520, 340:570]


def number_box(page: Any, tab: str, label: str) -> Any:
    """The box with the number of a slider."""
    page.get_by_role("tab", name=tab, exact=True).click()
    row = page.locator(f'xpath=//*[text()="{label}"]/ancestor::*[.//input][1]')
    return row.locator("input:visible").last


def enter(box: Any, value: str) -> None:
    box.fill(value)
    box.press("Enter")


def dropped(page: Any) -> int:
    """How many messages the page says were dropped."""
    said = re.search(r"(\d+) messages dropped", page.inner_text("body"))
    return int(said[1]) if said else 0


def test_robot_moves_without_an_error(page: Any, errors: list[str], shots: Path) -> None:
    until(lambda: picture(page, shots / "first.png").std() > 3, "a scene, no blank canvas")
    first = picture(page, shots / "first.png")
    until(lambda: bool((abs(picture(page, shots / "later.png") - first) > 30).sum() > 100), "moved")
    assert "cart" in page.title()
    assert [text for text in errors if not any(known in text for known in HARMLESS)] == []


def test_software_browser_asks_for_no_shadows(page: Any, show: Show, shots: Path) -> None:
    assert show.driver.values["shadows"] is False
    assert "shadows=false" in page.evaluate("location.href")
    page.get_by_role("tab", name="Drive", exact=True).click()
    page.get_by_role("checkbox", name="Shadows").check()
    until(lambda: show.driver.values["shadows"] is True, "back by hand")
    until(lambda: "shadows" not in page.evaluate("location.href"), "the default leaves the address")
    page.screenshot(path=shots / "shadows.png")
    page.get_by_role("checkbox", name="Shadows").uncheck()
    until(lambda: show.driver.values["shadows"] is False, "off again")


def test_slider_changes_the_planner_and_the_address(page: Any, show: Show, shots: Path) -> None:
    box = number_box(page, "Planner", "Horizon [decisions]")
    enter(box, "5")
    until(lambda: show.mind.planner.horizon == 5, "the planner's horizon is 5")
    until(lambda: "horizon=5" in page.evaluate("location.href"), "the address bar keeps it")
    assert "fixedDpr=0.4" in page.evaluate("location.href")  # and what is viser's own
    page.screenshot(path=shots / "planner.png")


def test_address_brings_its_state_along(page: Any, another: Any, show: Show) -> None:
    until(lambda: (show.mind.planner.horizon, show.mind.agent) == (4, "shuffled"), "as it says")
    box = number_box(page, "Planner", "Horizon [decisions]")
    until(lambda: box.input_value() == "4", "the first page shows it")


def test_last_of_two_people_wins_and_both_see_it(page: Any, another: Any, show: Show) -> None:
    mine, theirs = (number_box(each, "Planner", "Horizon [decisions]") for each in (page, another))
    enter(mine, "6")
    until(lambda: theirs.input_value() == "6", "the other one sees it")

    def wins() -> bool:
        # a value that comes between selecting and typing makes 67 of it: a person types again
        enter(theirs, "7")
        return show.mind.planner.horizon == 7

    until(wins, "the last one wins")
    until(lambda: mine.input_value() == theirs.input_value() == "7", "both pages show it")
    page.get_by_role("button", name="Reset to defaults").first.click()
    until(lambda: show.mind.planner.horizon == 3, "back to the default")
    another.close()


def test_planner_of_who_plans_nothing_is_hidden(page: Any, show: Show, shots: Path) -> None:
    box = number_box(page, "Planner", "Horizon [decisions]")
    show.driver.change("agent", "prior")
    until(box.is_hidden, "the prior heeds no horizon")
    page.screenshot(path=shots / "prior.png")
    show.driver.change("agent", "trained")
    until(box.is_visible, "the planner does")


def test_page_that_is_loaded_anew_restarts_nothing(
    page: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(show.rig, "restart", seeds.append)
    box = number_box(page, "Drive", "Seed [-")  # viser lets the line break here
    enter(box, "5")
    until(lambda: "seed=5" in page.evaluate("location.href"), "the address bar keeps it")
    page.reload()
    page.get_by_text("One decision").wait_for()
    time.sleep(2)  # what the address asks for is long heard
    assert seeds == [5]


def test_push_changes_the_trajectory(page: Any, show: Show) -> None:
    page.get_by_role("tab", name="World", exact=True).click()
    before = float(show.rig.place()["qpos"][0])
    page.get_by_role("button", name="Push", exact=True).click()
    # an untrained planner moves the cart by millimetres
    until(lambda: float(show.rig.place()["qpos"][0]) > before + 0.1, "pushed along +x")
    page.get_by_text("pushed cart +x").wait_for()


def test_rubbish_is_dropped_and_counted(page: Any, show: Show) -> None:
    import viser
    from websockets.sync.client import connect

    before = dropped(page)
    address = show.link.replace("http", "ws").rstrip("/")
    with connect(address, subprotocols=[f"viser-v{viser.__version__}"]) as socket:  # type: ignore[list-item]
        for rubbish in (b"\xff\x00", b"", "text", json.dumps({"type": "Nonsense"}).encode()):
            socket.send(rubbish)
        until(lambda: dropped(page) == before + 4, "four are counted")
        assert socket.recv(timeout=10)  # it is still told what happens


def test_wrong_token_is_turned_away(show: Show) -> None:
    for link in (f"http://127.0.0.1:{show.window.port}/", show.link[:-2] + "/"):
        with pytest.raises(HTTPError, match="403"):
            urlopen(link)


def test_lost_server_is_told(page: Any, show: Show, shots: Path) -> None:
    show.end()
    page.get_by_text("The server is gone").wait_for()
    page.screenshot(path=shots / "lost.png")
