"""What a person can change in the window: each with a unit, a range and a default."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wmrobot.core.errors import ConfigError, unknown

Value = float | int | bool | str
Kind = Literal["slider", "choice", "toggle", "button"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control.

    Attributes:
        name: As the loop and the address bar know it.
        label: What is written beside it.
        kind: A slider over numbers, a choice of words, a toggle, or a button.
        group: Folder that it stands in.
        unit: Of a number; `-` where it is a count or a factor.
        default: What a reset brings back.
        low: Least number.
        high: Largest number.
        step: Distance of two numbers; whole numbers where it and the default are.
        choices: Words to choose from.
        hint: What it does, in one line.
        kept: Whether the address bar keeps it.
        only_with: Other controls by name, and the values of each with which it does something.
        not_with: The same, of values with which it does nothing.
    """

    name: str
    label: str
    kind: Kind
    group: str
    unit: str = ""
    default: Value = 0
    low: float = 0.0
    high: float = 1.0
    step: float = 1.0
    choices: tuple[str, ...] = ()
    hint: str = ""
    kept: bool = True
    only_with: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    not_with: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def is_dead(self, values: Mapping[str, Value]) -> bool:
        """Whether it does nothing while the others have these values."""
        return any(
            name in values and values[name] not in words for name, words in self.only_with.items()
        ) or any(values.get(name) in words for name, words in self.not_with.items())

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole ones."""
        return self.kind == "slider" and isinstance(self.default, int)

    def check(self, value: object) -> Value:
        """A value as the loop takes it.

        Raises:
            ConfigError: It is of another kind, not finite, out of range, or no choice.
        """
        if self.kind == "choice":
            if not isinstance(value, str) or value not in self.choices:
                raise ConfigError(unknown(self.name, str(value), self.choices))
            return value
        if self.kind in ("toggle", "button"):
            if not isinstance(value, bool):
                raise ConfigError(f"{self.name}: expected true or false, got {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{self.name}: expected a number, got {value!r}")
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise ConfigError(
                f"{self.name}: expected {self.low:g} to {self.high:g} {self.unit}, got {value}"
            )
        return round(value) if self.is_whole else float(value)

    def parse(self, text: str) -> Value:
        """The value that a word of the address bar stands for.

        Raises:
            ConfigError: It stands for none.
        """
        if self.kind == "slider":
            try:
                return self.check(float(text))
            except ValueError:
                raise ConfigError(f"{self.name}: expected a number, got '{text}'") from None
        if self.kind == "choice":
            return self.check(text)
        return self.check({"true": True, "false": False}.get(text, text))


def scene_controls(group: str, *, follow: bool) -> tuple[Control, ...]:
    """How the scene is looked at; `follow` where the robot travels."""

    def toggle(name: str, label: str, hint: str, *, default: bool) -> Control:
        return Control(
            name=name, label=label, kind="toggle", group=group, hint=hint, default=default
        )

    return (
        toggle("follow", "Follow the robot", "Move the scene with it", default=follow),
        toggle("shadows", "Shadows", "Costly where a browser draws in software", default=True),
    )


def by_name(controls: Iterable[Control]) -> dict[str, Control]:
    """Every control by its name."""
    return {control.name: control for control in controls}


def defaults(controls: Iterable[Control]) -> dict[str, Value]:
    """What each is set to at first, but for buttons, which are not set to anything."""
    return {control.name: control.default for control in controls if control.kind != "button"}


def newest(
    controls: Mapping[str, Control], heard: Sequence[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """What people did, of each value the newest alone: a slider that is dragged tells many.

    Args:
        controls: By name; every press of a button counts.
        heard: Names and values, oldest first.
    """
    last = {name: index for index, (name, _) in enumerate(heard)}
    return [
        (name, value)
        for index, (name, value) in enumerate(heard)
        if last[name] == index or (name in controls and controls[name].kind == "button")
    ]


def to_query(controls: Iterable[Control], values: Mapping[str, Value]) -> dict[str, str]:
    """What the address bar keeps: everything that differs from its default."""
    return {
        control.name: _word(values[control.name])
        for control in controls
        if control.kept and control.kind != "button"
        if control.name in values and values[control.name] != control.default
    }


def from_query(
    controls: Iterable[Control], query: Mapping[str, str]
) -> tuple[dict[str, Value], list[str]]:
    """Values that an address asks for, and what was wrong with the others."""
    known = by_name(controls)
    values, complaints = {}, []
    for name, text in query.items():
        if name not in known or not known[name].kept or known[name].kind == "button":
            continue  # the page's own parameters stand there too
        try:
            values[name] = known[name].parse(text)
        except ConfigError as error:
            complaints.append(str(error))
    return values, complaints


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
