"""`wmrobot drive view=true` from end to end: its window in a browser, stopped, killed, replayed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import shipped_facts, write
from tests.test_drive import finish, wait_for
from tests.test_view_page import FLAGS, HARMLESS, PATIENCE, picture, until
from wmrobot.view.recorded.flights import load_flight

pytest.importorskip("viser", reason="needs wmrobot[view]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs wmrobot[dev]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LINK = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]{32}/")
ROOT = Path(__file__).parent.parent
SHORT = ("lockstep=0", "empty_loop_s=0", "view=true")

pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt install chromium"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bundle") / "qube2", shipped_facts("qube2-swingup"))


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of a browser; the window it shows comes and goes."""
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = chromium.new_page(viewport={"width": 900, "height": 560})
        page.set_default_timeout(PATIENCE)
        yield page
        chromium.close()


def hear_interrupts() -> None:
    """A shell lets what it starts in the background, these tests perhaps, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """A command with a window, as a process; what it prints is read line by line."""

    def __init__(self, *words: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "wmrobot", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            preexec_fn=hear_interrupts,  # noqa: PLW1509 - it takes no lock
        )  # fmt: skip
        assert self.popen.stdout is not None
        self.link = ""
        while not self.link:
            line = self.popen.stdout.readline()
            assert line, self.popen.communicate()[1]
            found = LINK.search(line)
            self.link = found[0] if found else ""

    def window(self) -> int:
        """Number of its window's process."""
        told = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text()
        spawned = [
            int(child)
            for child in told.split()
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        (found,) = spawned
        return found


def fact(page: Any, name: str) -> str:
    """A line of the table on the right; empty where the table has none of that name."""
    script = """name => [...document.querySelectorAll("td")]
        .find(cell => cell.textContent === name)?.nextElementSibling.textContent ?? ''"""
    return str(page.evaluate(script, name))


@needs_browser
def test_page_of_a_drive_shows_the_robot_and_its_rungs_and_stops_it(
    page: Any, bundle: Path, tmp_path: Path
) -> None:
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    out = tmp_path / "out"
    # On a machine with more to do the guard may stop the robot; the page is what is tested here.
    words = ("restart=true", "port=18500", f"out={out}")
    drive = Command("drive", f"bundle={bundle}", *SHORT, *words)
    page.goto(f"{drive.link}?fixedDpr=0.4")
    page.get_by_text("New episode").wait_for()
    until(lambda: picture(page, tmp_path / "first.png").std() > 3, "a scene, no blank canvas")
    first = picture(page, tmp_path / "first.png")
    until(lambda: bool((abs(picture(page, tmp_path / "a.png") - first) > 30).sum() > 100), "moved")
    page.get_by_text("rungs of the newest").wait_for()
    assert fact(page, "ladder") in ("FRESH", "SHIFTED", "PRIOR", "HOLD", "")
    until(lambda: fact(page, "guard") == "active: plans come", "the guard is content")
    page.get_by_text("roll forward").wait_for()
    episode = int(fact(page, "robot").rpartition(" ")[2])
    page.get_by_role("button", name="New episode").click()
    until(lambda: int(fact(page, "robot").rpartition(" ")[2]) > episode, "another episode")
    page.get_by_role("button", name="Stop the robot").click()
    code, text, told = finish(drive.popen)
    assert (code, told) == (0, "")
    assert "ended by: window" in text
    page.get_by_text("The server is gone").wait_for()
    known = (*HARMLESS, "ERR_CONNECTION_REFUSED", "WebSocket")
    assert [text for text in errors if not any(word in text for word in known)] == []
    look_at_recording(page, out / "flight.mcap", tmp_path)


def look_at_recording(page: Any, path: Path, shots: Path) -> None:
    """The recorded drive is opened by its file alone, and scrubbed through."""
    found, _ = load_flight(path)
    assert np.ptp(found.arrays["qpos"], axis=0).max() > 1  # the pole went up
    shown = Command("view", f"replay={path}", "port=18510")
    page.goto(f"{shown.link}?fixedDpr=0.4&play=false&")
    page.get_by_text("Next miss").wait_for()
    until(lambda: picture(page, shots / "rest.png").std() > 3, "a scene, no blank canvas")
    until(lambda: fact(page, "playing").startswith("0."), "at rest")
    page.get_by_role("button", name="One decision on").click()
    row = page.locator('xpath=//*[text()="Position [s]"]/ancestor::*[.//input][1]')
    box = row.locator("input:visible").last
    before = picture(page, shots / "before.png")
    box.fill("1.5")
    box.press("Enter")
    until(lambda: fact(page, "playing").startswith("1.5"), "scrubbed to")
    until(lambda: bool((abs(picture(page, shots / "b.png") - before) > 30).sum() > 100), "moved")
    until(lambda: "position=1.5" in page.evaluate("location.href"), "the address keeps the moment")
    assert fact(page, "ended by") == "window"
    shown.popen.send_signal(signal.SIGINT)
    assert finish(shown.popen)[0] == 130


@pytest.mark.realtime
def test_killed_window_does_not_end_the_drive(bundle: Path, tmp_path: Path) -> None:
    words = ("seconds=6", "port=18520", f"out={tmp_path}", "--json")
    command = [sys.executable, "-m", "wmrobot", "drive", f"bundle={bundle}", *SHORT, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stderr is not None
    drive = Command.__new__(Command)
    drive.popen = process
    while not LINK.search(process.stderr.readline()):  # stdout is the document's
        pass
    wait_for(tmp_path / "flight.mcap", process)
    os.kill(drive.window(), signal.SIGKILL)
    code, text, errors = finish(process)
    said = "the window's process has ended; the drive goes on without it"
    assert code == 0
    assert errors.count(said) == 1
    told = json.loads(text)
    assert (told["over"], told["window"]["outlived_the_drive"]) == ("time", False)
    assert said in told["remarks"]
    assert told["seconds"] > 5.5
    assert told["ticks"]["by_rung"]["stop"] == 0
