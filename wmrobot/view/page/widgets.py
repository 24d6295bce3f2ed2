"""Controls of a layout as widgets of the page, and what people do with them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import viser
from viser import _messages

from wmrobot.core.errors import ConfigError
from wmrobot.view.controls import Control, Value, by_name, defaults

Change = Callable[[str, Value], None]
SETTLED_S = 0.5
"""After so long without a change of a control, every page is told its value once more [s]."""


class Panel:
    """Every control of a layout, each with its unit and a reset to its default.

    All clients see the same widgets: who moves one last wins, and the others see it move. Callbacks
    are coroutines, so that viser runs them in its event loop, where everything else happens.

    Args:
        server: Whose page it is on.
        controls: What there is, in order.
        change: Called with a name and a value when somebody has changed it.
        refuse: Called with what was wrong with a value.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        controls: tuple[Control, ...],
        change: Change,
        refuse: Callable[[str], None],
    ) -> None:
        self._server, self._controls = server, by_name(controls)
        self._change, self._refuse = change, refuse
        self._widgets: dict[str, Any] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.values = defaults(controls)

    def add_group(self, group: str) -> None:
        """Widgets of one group, in the folder or tab that is open."""
        own = [control for control in self._controls.values() if control.group == group]
        for control in own:
            self._widgets[control.name] = self._add(control)
        self._hide_dead()
        kept = [control for control in own if control.kind != "button"]
        if kept:
            button = self._server.gui.add_button(
                "Reset to defaults",
                hint="; ".join(f"{c.label}: {_told(c, c.default)}" for c in kept),
                color="gray",
            )

            async def reset(_: object) -> None:
                self._reset(kept)

            button.on_click(reset)

    def show(self, values: Mapping[str, Value]) -> None:
        """Show what the loop says its values are, without telling it again.

        It may not have heard yet what somebody is changing: that control is left alone.
        """
        for name, value in values.items():
            if name in self.values and name not in self._timers:
                self._write(name, value)

    def _write(self, name: str, value: Value) -> None:
        if self.values[name] != value:
            self.values[name] = value
            self._widgets[name].value = value
            self._hide_dead()

    def _hide_dead(self) -> None:
        """Show what does something as the others stand.

        viser disables a slider, but not the box with its number (1.1.1).
        """
        for name, widget in self._widgets.items():
            visible = not self._controls[name].is_dead(self.values)
            if widget.visible != visible:
                widget.visible = visible

    def set_choices(self, name: str, choices: tuple[str, ...]) -> None:
        """Offer other words, for instance recordings that have come."""
        control = self._controls[name]
        if control.choices != choices:
            self._controls[name] = replace(control, choices=choices)
            self._widgets[name].options = choices

    def set_high(self, name: str, high: float) -> None:
        """Let a slider go so far, for instance as long as a recording is."""
        control = self._controls[name]
        if control.high != high:
            self._controls[name] = changed = replace(control, high=high)
            self._widgets[name].max, self._widgets[name].hint = high, _hint(changed)

    def set(self, name: str, value: Value) -> None:
        """Change a value as a person would; nothing where it is that already.

        A page that is loaded anew asks for what it has: a seed that came again would be a restart.
        """
        if self.values[name] != value:
            self._write(name, value)
            self._change(name, value)
            self._settle_soon(name)

    def _reset(self, controls: list[Control]) -> None:
        for control in controls:
            self.set(control.name, control.default)

    def _add(self, control: Control) -> Any:
        gui, hint = self._server.gui, _hint(control)
        label = f"{control.label} [{control.unit}]" if control.unit else control.label
        widget: Any
        match control.kind:
            case "button":
                widget = gui.add_button(label, hint=hint)

                async def pressed(_: object) -> None:
                    self._change(control.name, True)

                widget.on_click(pressed)
                return widget
            case "toggle":
                widget = gui.add_checkbox(label, initial_value=bool(control.default), hint=hint)
            case "choice":
                widget = gui.add_dropdown(
                    label, control.choices, initial_value=str(control.default), hint=hint
                )
            case "slider":
                widget = gui.add_slider(
                    label,
                    min=control.low,
                    max=control.high,
                    step=control.step,
                    initial_value=control.default,
                    hint=hint,
                )

        async def moved(event: viser.GuiEvent[Any]) -> None:
            self._moved(control.name, event)

        widget.on_update(moved)
        return widget

    def _moved(self, name: str, event: viser.GuiEvent[Any]) -> None:
        if event.client_id is None:  # we moved it ourselves
            return
        try:
            value = self._controls[name].check(event.target.value)
        except ConfigError as error:  # no widget of ours lets anybody do that
            self._widgets[name].value = self.values[name]
            self._refuse(str(error))
            return
        self.values[name] = value
        self._hide_dead()
        self._change(name, value)
        self._settle_soon(name)

    def _settle_soon(self, name: str) -> None:
        """Tell every page the value, once nobody changes it any more.

        viser tells a change to all but the page that it comes from. Where two people change a
        control at the same time, each page would keep what the other one had set.
        """
        if name in self._timers:
            self._timers[name].cancel()
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(SETTLED_S, self._settle, name)

    def _settle(self, name: str) -> None:
        del self._timers[name]
        widget = self._widgets[name]
        message = _messages.GuiUpdateMessage(widget._impl.uuid, {"value": widget.value})
        self._server.gui._websock_interface.queue_message(message)


def _hint(control: Control) -> str:
    text = control.hint or control.label
    if control.kind == "slider":
        return f"{text} ({control.low:g} to {control.high:g}; {_told(control, control.default)})"
    return text


def _told(control: Control, value: Value) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"default {shown} {control.unit}".strip()
