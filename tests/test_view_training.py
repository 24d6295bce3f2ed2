"""What the window of a training is told while one long call lasts."""

import threading
from contextlib import ExitStack
from typing import Any

import pytest

from tests.panes import Pane
from tests.runs import tiny
from wmrobot.app.training import window
from wmrobot.app.training.window import Watcher
from wmrobot.app.viewing import awake


def test_one_long_call_is_named_at_once_and_kept_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    pane, beaten = Pane(), threading.Event()
    monkeypatch.setattr(window, "Window", lambda: pane)
    for module in (awake, window):
        monkeypatch.setattr(module, "BEAT_EVERY", 0.0)
    watcher = Watcher(tiny())
    told: list[Any] = pane.messages
    with ExitStack() as call:
        call.enter_context(watcher.during("compiling"))
        assert told[0] == {"facts": {"now": "compiling"}}
        monkeypatch.setattr(pane, "publish", lambda message: beaten.set())
        assert beaten.wait(60)
    monkeypatch.undo()
    watcher.beat("pretraining 0/7")
    assert told[-1] == {"facts": {"now": "pretraining 0/7"}}
