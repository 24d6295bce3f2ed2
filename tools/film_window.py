"""Film the window of a shipped controller, smooth: `python tools/film_window.py <task> <gif>`.

A browser without a GPU draws a few pictures a second. So the robot is slowed down, the page is
photographed as often as the film needs, and the film plays at true speed again.
"""

import argparse
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 960, "height": 600}
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PER_S, SECONDS, SPEED = 20, 3.0, 0.05
PATIENCE_S = 300.0  # the planner is compiled first
SETTLE_S, COLOURS, SHOWN = 25.0, 64, (640, 400)


def main() -> None:
    """Open, wait, photograph, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    command = [sys.executable, "-m", "wmrobot", "view", words.task, "port=18400", "compile=true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as view:
        assert view.stdout is not None
        link = next(line.split()[-1] for line in view.stdout if "http://" in line)
        try:
            pictures = film(link)
        finally:
            view.terminate()
    first, *others = [picture.quantize(COLOURS, dither=Image.Dither.NONE) for picture in pictures]
    first.save(
        words.out,
        save_all=True,
        append_images=others,
        duration=1000 // PER_S,
        loop=0,
        optimize=True,
    )
    print(f"{words.out}: {len(pictures)} pictures, {words.out.stat().st_size / 1e6:.1f} MB")


def film(link: str) -> list[Image.Image]:
    """Open the page, let it settle, photograph it."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(link)
        page.get_by_text("decoder fitted").wait_for(timeout=PATIENCE_S * 1e3)
        page.wait_for_timeout(SETTLE_S * 1e3)
        page.goto(f"{link}?shadows=false&speed={SPEED}")
        page.wait_for_timeout(SETTLE_S * 1e3)
        close_warning(page)
        pictures = photograph(page)
        browser.close()
    return pictures


def close_warning(page: Page) -> None:
    """Put away what viser says of a browser that draws in software."""
    warning = page.locator(".mantine-Notification-closeButton")
    if warning.count():
        warning.first.click()


def photograph(page: Page) -> list[Image.Image]:
    """Pictures of the page, evenly spaced in the robot's time."""
    pictures = []
    begin = time.monotonic()
    for index in range(round(SECONDS * PER_S)):
        due = begin + index / PER_S / SPEED
        page.wait_for_timeout(max(0.0, due - time.monotonic()) * 1e3)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        print(f"\r{index + 1} pictures", end="", file=sys.stderr, flush=True)
        pictures.append(picture.resize(SHOWN, Image.Resampling.LANCZOS))
    late = time.monotonic() - begin - SECONDS / SPEED
    if late > 1 / PER_S / SPEED:
        raise SystemExit(f"error: the browser was {late:.1f} s late; lower SPEED")
    return pictures


if __name__ == "__main__":
    main()
