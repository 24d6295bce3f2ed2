"""The window's own process: messages in, a page out, and what people do there back to the loop."""

import asyncio
import io
import json
import os
import select
import shutil
import socket
import time
from collections import deque
from contextlib import redirect_stdout, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import viser

from wmrobot.core.errors import DataError, MissingExtraError
from wmrobot.runtime.process import leave_endings_to_others
from wmrobot.view.controls import Value, from_query, to_query
from wmrobot.view.hosts import EVERYWHERE, reached_at
from wmrobot.view.layout import Layout
from wmrobot.view.mailbox import Mailbox
from wmrobot.view.packet import unpack
from wmrobot.view.page.diagrams import Diagrams
from wmrobot.view.page.gate import Gate
from wmrobot.view.page.player import Player
from wmrobot.view.page.readout import Readout
from wmrobot.view.page.stage import Stage
from wmrobot.view.page.widgets import Panel

DRAW_EVERY = 1 / 45  # [s]
CHART_EVERY = 0.25  # [s]
PATIENCE = 4.0  # [s] without a message after which the loop counts as silent
NICENESS = 10  # the control loop goes first


def serve(folder: str, pipe: Connection, address: tuple[str, int]) -> None:
    """Run a window until its pipe closes; the target of a process.

    Args:
        folder: Where mailbox and model files lie.
        pipe: The layout comes in, once; the link goes out, and then what people do.
        address: Host and port to try first.
    """
    leave_endings_to_others()
    try:
        layout: Layout = pipe.recv()
    except EOFError:  # the loop has failed before it knew what to show
        return
    try:
        page = Page(Path(folder), pipe, layout, address)
    except (MissingExtraError, OSError) as error:
        with suppress(OSError):  # the loop may have given up
            pipe.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    os.nice(NICENESS)  # not before: the loop waits for the link
    try:
        page.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the loop may have been killed


def free_port(host: str, port: int) -> int:
    """The first port from `port` on that nobody listens at.

    Raises:
        OSError: The host is none of this machine's, or no port of a hundred is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + 100, 65_536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                if candidate + 1 in (port + 100, 65_536) or "assign" in str(error):
                    raise
                continue
            return candidate
    raise OSError(f"no free port from {port} on")


class Page:
    """One page, for any number of clients.

    Args:
        folder: See `serve`.
        pipe: See `serve`.
        layout: What there is to show.
        address: See `serve`.
    """

    def __init__(
        self, folder: Path, pipe: Connection, layout: Layout, address: tuple[str, int]
    ) -> None:
        host, wanted = address
        self._folder, self._pipe, self._layout = folder, pipe, layout
        self._mailbox = Mailbox(folder / "mailbox")
        self._heard = time.monotonic()
        self._told: tuple[int, int] = (0, 0)
        self._values: dict[str, Value] = {}
        self._arrivals: deque[dict[str, str]] = deque(maxlen=8)
        self._outbox: dict[str, Any] = {}  # what the loop has still to be told, by name
        names = {host.lower(), "localhost", "127.0.0.1", "::1"}
        if host in EVERYWHERE:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._gate = Gate(frozenset(names), self._state, self._arrivals.append)
        port = free_port(host, wanted)
        # viser greets with a box around a link that lacks the token
        with self._gate.installed(), redirect_stdout(io.StringIO()):
            self._server = viser.ViserServer(host=host, port=port, verbose=False)
        self._build()
        url = f"http://{reached_at(host)}:{self._server.get_port()}/{self._gate.token}/"
        pipe.send_bytes(json.dumps({"url": url, "port": self._server.get_port()}).encode())

    def _build(self) -> None:
        """All widgets: what one can do on the right, what there is to see on the left."""
        gui, layout = self._server.gui, self._layout
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        gui.set_panel_label(layout.title)
        gui.main_panel.dock_right()
        for note in layout.notes:
            gui.add_markdown(f"**{note}**")
        self._readout = Readout(self._server, layout)
        self._panel = Panel(self._server, layout.controls, self._send, self._refuse)
        groups = dict.fromkeys(control.group for control in layout.controls)
        tabs = gui.add_tab_group() if groups else None
        for group in groups:
            assert tabs is not None
            with tabs.add_tab(group):
                self._panel.add_group(group)
        self._diagrams = Diagrams(self._server, layout)
        self._player: Player | None = None
        self._stage = Stage(self._server, self._folder, layout, self._pull)

    def run(self) -> None:
        """Until the loop's end of the pipe is closed.

        All of it runs in viser's own event loop: a message that another thread queues may meet that
        in the middle of its work (viser 1.1.1: "deque mutated during iteration").
        """
        asyncio.run_coroutine_threadsafe(self._run(), self._server.get_event_loop()).result()
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    async def _run(self) -> None:
        draw = chart = time.monotonic()
        while not self._ended():
            now = time.monotonic()
            self._read(now)
            self._apply_arrivals()
            self._flush()
            if self._player is not None:
                for state in self._player.due(now):
                    self._stage.take(state, now)
            self._stage.draw(now)
            if now >= chart:
                self._show()
                chart = max(chart + CHART_EVERY, now)
            draw = max(draw + DRAW_EVERY, time.monotonic())
            await asyncio.sleep(max(0.0, draw - time.monotonic()))

    def _ended(self) -> bool:
        """Whether the loop has let go of its end; it never sends anything."""
        try:
            return self._pipe.poll(0) and not self._pipe.recv_bytes()
        except (EOFError, OSError):
            return True

    def _read(self, now: float) -> None:
        """Take what has come."""
        messages, lost = self._mailbox.read()
        if lost:
            self._diagrams.skip()
        for data in messages:
            self._take(unpack(data), now)

    def _take(self, message: dict[str, Any], now: float) -> None:
        """One message's figures."""
        self._heard = now
        self._stage.take(message, now)
        self._diagrams.take(message)
        for name, high in message.get("highs", {}).items():
            self._panel.set_high(name, high)
        if "values" in message:
            self._values.update(message["values"])
            self._panel.show(message["values"])
        if "episode" in message:
            self._play(message["episode"])
        for name, choices in message.get("choices", {}).items():
            self._panel.set_choices(name, tuple(choices))
        self._readout.take(message)

    def _play(self, name: str) -> None:
        """Show an episode; where newer ones have come since, its file is gone."""
        try:
            self._player = Player(self._folder / name)
        except DataError as error:
            self._readout.say(f"not shown: {error}")

    def _show(self) -> None:
        """What need not be shown as often as the robot."""
        self._diagrams.show()
        counts = (self._gate.rubbish, self._gate.turned_away)
        refused = f"{counts[0]} messages dropped, {counts[1]} requests turned away"
        clients = len(self._server.get_clients())
        facts = {"clients": str(clients), "refused": refused if any(counts) else ""}
        self._readout.add_facts(facts | self._stage.facts())
        self._readout.show()
        if counts != self._told:
            self._told = counts
            self._send("refused", float(sum(counts)))

    def _state(self) -> dict[str, Any]:
        """What the page's own script asks for."""
        alive = time.monotonic() - self._heard < PATIENCE
        query = to_query(self._layout.controls, self._panel.values)
        names = [control.name for control in self._layout.controls]
        title = f"{self._layout.title} - wmrobot"
        return {"title": title, "names": names, "query": query, "alive": alive}

    def _apply_arrivals(self) -> None:
        """Do what the addresses ask for that were opened."""
        while self._arrivals:
            values, complaints = from_query(self._layout.controls, self._arrivals.popleft())
            for name, value in values.items():
                self._panel.set(name, value)
            for complaint in complaints:
                self._refuse(complaint)

    def _refuse(self, complaint: str) -> None:
        self._gate.rubbish += 1
        self._readout.say(complaint)

    def _send(self, name: str, value: Value | list[float]) -> None:
        """Tell the loop, as soon as it listens; of one name the newest value."""
        self._outbox.pop(name, None)
        self._outbox[name] = value
        self._flush()

    def _pull(self, body: int, force: np.ndarray) -> None:
        if np.isfinite(force).all():
            self._send("pull", [body, *force.tolist()])

    def _flush(self) -> None:
        """Send what the pipe takes without waiting; a loop that is gone is noticed elsewhere."""
        try:
            while self._outbox and select.select([], [self._pipe], [], 0)[1]:
                name = next(iter(self._outbox))
                self._pipe.send_bytes(json.dumps([name, self._outbox.pop(name)]).encode())
        except OSError:
            self._outbox.clear()
