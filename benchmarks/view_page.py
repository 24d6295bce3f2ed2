"""What a browser gets of a window: `python benchmarks/view_page.py [task ...] [key=value ...]`.

Starts `wmrobot view` and opens its page in Debian's chromium, which draws in software here and
takes the processor that the planner needs. Prints one JSON document: seconds from the command to
the link and to the first picture of the robot, pictures a second that the browser draws, messages
that it is sent, and what the page says of the planner. Settings are those of `wmrobot view`;
`shadows=true` is the page's own, as in its address.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from wmrobot.app.benchmarking.script import run_script

SIZE = {"width": 960, "height": 600}
MIDDLE = {"x": 380, "y": 150, "width": 200, "height": 300}
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PORT, SETTLE_S, COUNT_S, PATIENCE_S, LONGEST_S = 18_300, 10.0, 10.0, 60.0, 300.0
VISIBLE = 4.0  # standard deviation of the grey levels of an empty scene is below
COUNT_FRAMES = """async (seconds) => {
  let frames = 0;
  const until = performance.now() + 1000 * seconds;
  while (performance.now() < until) {
    await new Promise(requestAnimationFrame);
    frames += 1;
  }
  return frames / seconds;
}"""


@contextmanager
def window(task: str, settings: list[str]) -> Iterator[tuple[str, float]]:
    """A window of a shipped controller: its link, and when it was asked for."""
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "wmrobot",
        "view",
        task,
        f"port={PORT}",
        f"seconds={LONGEST_S}",
    ]
    command += settings
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[-1] for line in process.stdout if "http://" in line), began
        finally:
            process.terminate()


def wait_for_robot(page: Page) -> None:
    """Until there is more in the middle of the page than an empty scene."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        picture = Image.open(io.BytesIO(page.screenshot(clip=MIDDLE))).convert("L")  # type: ignore
        if np.asarray(picture, dtype=float).std() > VISIBLE:
            return
    raise SystemExit("expected a robot on the page, got none")


def measure(task: str, settings: list[str], browser: Any) -> dict[str, Any]:
    """Figures of one task."""
    query = "?" + "&".join(word for word in settings if word.startswith("shadows="))
    settings = [word for word in settings if not word.startswith("shadows=")]
    page = browser.new_page(viewport=SIZE)
    received = [0]

    def count(_: Any) -> None:
        received[0] += 1

    page.on("websocket", lambda socket: socket.on("framereceived", count))
    with window(task, settings) as (link, began):
        link_s = time.monotonic() - began
        page.goto(link + query)
        wait_for_robot(page)
        picture_s = time.monotonic() - began
        page.get_by_text("decoder fitted").wait_for(timeout=LONGEST_S * 1e3)  # now it drives
        page.wait_for_timeout(SETTLE_S * 1e3)
        received[0] = 0
        frames = page.evaluate(COUNT_FRAMES, COUNT_S)
        messages = received[0] / COUNT_S
        text = page.inner_text("body")
    planning = next((line for line in text.splitlines() if " ms of " in line), "")
    page.close()
    return {
        "task": task, "link_s": round(link_s, 2), "first_picture_s": round(picture_s, 2),
        "frames_per_s": round(frames, 1), "messages_per_s": round(messages, 1),
        "planning": planning,
    }  # fmt: skip


def main(words: list[str]) -> None:
    """Measure every task that is named."""
    settings = [word for word in words if "=" in word]
    tasks = [word for word in words if "=" not in word] or ["qube2-swingup", "walker-walk"]
    load = os.getloadavg()[0]
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        found = [measure(task, settings, browser) for task in tasks]
        browser.close()
    machine = {"cores": os.cpu_count(), "load_average": load, "page": SIZE, "settings": settings}
    print(json.dumps({"case": "page", "made": machine, "found": found}, indent=2))


if __name__ == "__main__":
    run_script(main, __doc__)
