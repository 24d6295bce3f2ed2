"""Widgets of a page without a browser: what people change, and what the loop says meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from wmrobot.view.controls import Control, Value, by_name, newest

pytest.importorskip("viser", reason="needs wmrobot[view]")
from wmrobot.plan.config import MppiConfig
from wmrobot.view.live_layout import NOTHING, drive_controls, planner_controls, record_controls
from wmrobot.view.page import widgets
from wmrobot.view.page.widgets import Panel

SEED = Control(name="seed", label="Seed", kind="slider", group="Drive", unit="-", default=1, high=9)
STEP = Control(name="step", label="Step", kind="button", group="Drive")


class Widget(SimpleNamespace):
    """One widget, and what happens where a person changes it."""

    def on_click(self, callback: Any) -> None:
        self.callback = callback

    on_update = on_click

    async def move(self, value: Value) -> None:
        """Change it as a browser does."""
        self.value = value
        await self.callback(SimpleNamespace(client_id=1, target=self))


class Gui:
    """The part of viser's that a panel uses; widgets by their labels."""

    def __init__(self) -> None:
        self.widgets: dict[str, Widget] = {}
        self._websock_interface = SimpleNamespace(queue_message=lambda message: None)

    def _add(self, label: str, *_: Any, initial_value: Value = False, **__: Any) -> Widget:
        impl = SimpleNamespace(uuid=label)
        self.widgets[label] = Widget(value=initial_value, visible=True, _impl=impl)
        return self.widgets[label]

    add_slider = add_button = add_checkbox = add_dropdown = _add


class Table:
    """A panel on such a page."""

    def __init__(self, *controls: Control) -> None:
        self.told: list[tuple[str, Value]] = []
        self.gui = Gui()
        self.panel = Panel(
            SimpleNamespace(gui=self.gui),  # type: ignore[arg-type]
            controls,
            lambda name, value: self.told.append((name, value)),
            lambda complaint: None,
        )
        self.panel.add_group(controls[0].group)


def test_a_control_in_use_is_not_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "SETTLED_S", 0.0)

    async def drag() -> None:
        table = Table(SEED)
        slider = table.gui.widgets["Seed [-]"]
        await slider.move(5)
        table.panel.show({"seed": 1})  # the loop has not heard yet
        assert slider.value == 5
        while table.panel._timers:  # nobody changes it any more
            await asyncio.sleep(0)
        table.panel.show({"seed": 3})
        assert slider.value == 3
        assert table.told == [("seed", 5)]

    asyncio.run(drag())


def test_what_is_asked_for_again_is_not_told_again() -> None:
    async def load() -> None:
        table = Table(SEED)
        for seed in (7, 7, 1):
            table.panel.set("seed", seed)
        assert table.told == [("seed", 7), ("seed", 1)]

    asyncio.run(load())


def test_what_does_nothing_as_the_others_stand_is_hidden() -> None:
    async def choose() -> None:
        table = Table(*record_controls(("a",), is_run=False, has_scene=True))
        played, position = (table.gui.widgets[name] for name in ("Play back", "Position [s]"))
        assert not position.visible
        assert played.visible
        await played.move("a")
        assert position.visible
        table.panel._timers.clear()
        table.panel.show({"recording": NOTHING})
        assert not position.visible

    asyncio.run(choose())


def test_planner_is_for_who_plans_and_the_robot_for_who_is_live() -> None:
    known = by_name((*drive_controls(1, follow=False), *planner_controls(MppiConfig(), "trained")))

    def dead(**values: Value) -> set[str]:
        return {name for name, control in known.items() if control.is_dead(values)}

    search = {"planner", "horizon", "samples", "iterations", "inverse_temperature"}
    assert dead(agent="trained", planner="mppi", recording=NOTHING) == set()
    assert dead(agent="shuffled", planner="icem") == {"inverse_temperature"}
    assert dead(agent="prior", planner="mppi") == search
    assert dead(agent="trained", planner="mppi", recording="a") == {
        "pause", "step", "reset", "seed", "ghost", "paths", "ahead"
    }  # fmt: skip


def test_newest_of_each_value_and_every_press() -> None:
    heard = [("seed", 2), ("step", True), ("pull", [1, 2.0]), ("seed", 4), ("step", True)]
    assert newest(by_name([SEED, STEP]), heard) == [
        ("step", True), ("pull", [1, 2.0]), ("seed", 4), ("step", True)
    ]  # fmt: skip
