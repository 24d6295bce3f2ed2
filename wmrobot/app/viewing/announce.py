"""Says where a window is."""

import webbrowser
from pathlib import Path

from wmrobot.view.hosts import LOOPBACKS, reached_at
from wmrobot.view.window import Window


def announce(window: Window, what: str, *, open_it: bool) -> None:
    """Print the link of an open window.

    Args:
        window: That is open.
        what: What it shows.
        open_it: Whether to open the link in this machine's browser.
    """
    if window.port != window.wanted:
        print(f"port {window.wanted} is in use: took {window.port}")
    if window.host not in LOOPBACKS:
        print(f"listening at {window.host}: whoever has the link can steer")
    print(f"{what} in a window: {window.link}", flush=True)
    forward = f"{window.port}:{reached_at(window.host)}:{window.port}"
    print(f"ctrl-c ends it; from another machine: ssh -L {forward} <this machine>", flush=True)
    if open_it:
        webbrowser.open(_doorway(window.folder, window.link).as_uri())


def _doorway(folder: Path, link: str) -> Path:
    """A page that leads to the link: a browser's own command line can be read by everybody.

    Args:
        folder: That nobody else can look into.
        link: Token included.
    """
    path = folder / "open.html"
    path.write_text(f'<meta http-equiv="refresh" content="0; url={link}">\n', encoding="utf-8")
    return path
