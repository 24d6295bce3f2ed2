"""The page, in a real browser: Debian's chromium, headless, driven by Playwright."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.test_view_driver import make_env
from tests.tiny import MODEL, PLANNER, make_card
from wmrobot.app.controllers import make_model
from wmrobot.core.random import make_generator
from wmrobot.view.driver import Driver
from wmrobot.view.driving import CHARTS, drive_controls, planner_controls, world_controls
from wmrobot.view.layout import Layout
from wmrobot.view.mind import LearnedMind
from wmrobot.view.rig import Rig
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
        """End the loop, then the window."""
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
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots stay to be looked at."""
    return tmp_path_factory.mktemp("screenshots")


def open_page(browser: Any, link: str, said: list[str] | None = None) -> Any:
    page = browser.new_page(viewport={"width": 1000, "height": 600})
    page.set_default_timeout(PATIENCE)
    if said is not None:
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(link)
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
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)[60:560, 350:660]


def number_box(page: Any, tab: str, label: str) -> Any:
    """The box with the number of a slider."""
    page.get_by_role("tab", name=tab, exact=True).click()
    return page.get_by_label(label).last


def test_robot_moves_without_an_error(browser: Any, show: Show, shots: Path) -> None:
    errors: list[str] = []
    page = open_page(browser, show.link, errors)
    first = picture(page, shots / "first.png")
    # a scene, not a blank canvas
    until(lambda: picture(page, shots / "first.png").std() > 5, "something is drawn")
    first = picture(page, shots / "first.png")
    until(lambda: bool((abs(picture(page, shots / "later.png") - first) > 30).sum() > 100), "moved")
    assert "cart" in page.title()
    assert [text for text in errors if not any(known in text for known in HARMLESS)] == []
    page.close()


def test_slider_changes_the_planner_and_all_pages_see_it(
    browser: Any, show: Show, shots: Path
) -> None:
    mine, theirs = open_page(browser, show.link), open_page(browser, show.link)
    box, other = (number_box(page, "Planner", "Horizon") for page in (mine, theirs))
    box.fill("5")
    box.press("Enter")
    until(lambda: show.mind.planner.horizon == 5, "the planner's horizon is 5")
    until(lambda: other.input_value() == "5", "the other page shows it")
    until(lambda: "horizon=5" in mine.url, "the address bar keeps it")
    other.fill("7")
    other.press("Enter")
    until(lambda: show.mind.planner.horizon == 7, "the last one wins")
    until(lambda: box.input_value() == "7", "the first page shows it")
    mine.screenshot(path=shots / "planner.png")
    mine.get_by_role("button", name="Reset to defaults").click()
    until(lambda: show.mind.planner.horizon == 3, "back to the default")
    for page in (mine, theirs):
        page.close()


def test_address_brings_its_state_along(browser: Any, show: Show) -> None:
    page = open_page(browser, show.link + "?horizon=4&agent=zero")
    until(lambda: show.mind.planner.horizon == 4 and show.mind.agent == "zero", "as it says")
    show.driver.values.update(horizon=3, agent="trained")
    show.mind.configure({"horizon": 3, "agent": "trained"})
    page.close()


def test_push_changes_the_trajectory(browser: Any, show: Show) -> None:
    page = open_page(browser, show.link + "?agent=zero&seed=5")
    until(lambda: show.driver.values["seed"] == 5, "a robot at rest")
    before = float(show.rig.place()["qpos"][0])
    page.get_by_role("tab", name="World", exact=True).click()
    page.get_by_role("button", name="Push", exact=True).click()
    until(lambda: float(show.rig.place()["qpos"][0]) > before + 0.02, "pushed along +x")
    page.close()


def test_rubbish_is_dropped_and_counted(browser: Any, show: Show) -> None:
    import viser
    from websockets.sync.client import connect

    page = open_page(browser, show.link)
    address = show.link.replace("http", "ws").rstrip("/")
    with connect(address, subprotocols=[f"viser-v{viser.__version__}"]) as socket:  # type: ignore[list-item]
        for rubbish in (b"\xff\x00", b"", "text", json.dumps({"type": "Nonsense"}).encode()):
            socket.send(rubbish)
        page.get_by_text("4 messages dropped").wait_for()
        assert socket.recv(timeout=10)  # it is still told what happens
    page.close()


def test_wrong_token_is_turned_away(browser: Any, show: Show) -> None:
    page = browser.new_page()
    for link in (f"http://127.0.0.1:{show.window.port}/", show.link[:-2] + "/"):
        assert page.goto(link).status == 403
    page.close()


def test_lost_server_is_told(browser: Any, shots: Path) -> None:
    shown = Show()  # its port is taken: the next one is
    page = open_page(browser, shown.link)
    shown.end()
    page.get_by_text("The server is gone").wait_for()
    page.screenshot(path=shots / "lost.png")
    page.close()
