"""Help texts, made from the table of verbs and the settings' own docstrings."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import cleandoc
from typing import Any

WIDTH = 98


def overview(verbs: Mapping[str, str]) -> str:
    """What `wmrobot --help` prints.

    Args:
        verbs: Name of each verb and what it does.
    """
    width = max(map(len, verbs))
    lines = "\n".join(f"  {name:{width}}  {summary}" for name, summary in verbs.items())
    return (
        "usage: wmrobot <verb> [task] [key=value ...] [--json]\n\n"
        "Train a world model of a robot, plan in it in real time, ship the planner.\n\n"
        f"{lines}\n\n"
        "`wmrobot <verb> --help` tells a verb's settings, with examples; "
        "`wmrobot --version` the version."
    )


def verb_help(
    verb: str, summary: str, examples: tuple[str, ...], settings: type[Any] | None
) -> str:
    """What `wmrobot <verb> --help` prints.

    Args:
        verb: Its name.
        summary: What it does, in one line.
        examples: Command lines.
        settings: Dataclass of its settings; None where it takes none.
    """
    parts = [f"usage: wmrobot {verb} [task] [key=value ...]\n\n{summary}"]
    if settings is not None:
        parts.append("\n".join(["settings and their defaults:", *_settings(settings)]))
    parts.append("\n".join(["examples:", *(f"  {example}" for example in examples)]))
    return "\n\n".join(parts)


def attribute_docs(cls: type[Any]) -> dict[str, str]:
    """What the `Attributes:` of a dataclass's docstring, and of those it inherits from, say."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        _, _, section = cleandoc(vars(owner).get("__doc__") or "").partition("Attributes:\n")
        for entry in re.split(r"\n {4}(?=\w+:)", "\n" + section.split("\n\n")[0]):
            name, colon, text = entry.partition(":")
            if colon:
                docs[name.strip()] = " ".join(text.split())
    return docs


def _settings(cls: type[Any]) -> Iterator[str]:
    """One block of lines for each setting; the groups, in short, come last."""
    docs = attribute_docs(cls)
    groups = {}
    for field in fields(cls):
        default = _default(field)
        if is_dataclass(default):
            groups[field.name] = default
            continue
        shown = "" if default is MISSING else _value(default)
        yield from _entry(f"{field.name}={shown}", docs.get(field.name, ""))
    for name, group in groups.items():
        yield ""
        values = " ".join(f"{f.name}={_value(getattr(group, f.name))}" for f in fields(group))
        yield from _entry(f"{name}.", f"{docs.get(name, '')} {values}".strip())


def _entry(name: str, text: str) -> list[str]:
    """`name` and its text beside it, wrapped."""
    indent = " " * 28
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    head = f"  {name}"
    if not lines or len(head) >= len(indent) - 1:
        return [head, *lines]
    return [head + lines[0][len(head) :], *lines[1:]]


def _value(value: Any) -> str:
    """A value as one would type it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{','.join(map(_value, value))}]"
        case _ if is_dataclass(value):
            return "{...}"
        case _:
            return str(value)


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
