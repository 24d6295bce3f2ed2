"""Says where a window is."""

import webbrowser

from wmrobot.view.window import LOOPBACK, Window


def announce(window: Window, what: str, *, open_it: bool) -> None:
    """Print the link of an open window.

    Args:
        window: That is open.
        what: What it shows.
        open_it: Whether to open the link in this machine's browser.
    """
    if window.port != window.wanted:
        print(f"port {window.wanted} is in use: took {window.port}")
    if window.host != LOOPBACK:
        print(f"listening at {window.host}: whoever has the link can steer")
    print(f"{what} in a window: {window.link}", flush=True)
    print("ctrl-c ends it; from another machine: "
          f"ssh -L {window.port}:127.0.0.1:{window.port} <this machine>", flush=True)  # fmt: skip
    if open_it:
        webbrowser.open(window.link)
