"""Help texts, made from the table of verbs and the settings' own docstrings."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import cleandoc, get_annotations
from typing import Any, get_args, get_type_hints

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
    verb: str,
    summary: str,
    examples: tuple[str, ...],
    settings: type[Any],
    *,
    extends: str | None = None,
    has_json: bool = False,
) -> str:
    """What `wmrobot <verb> --help` prints.

    Args:
        verb: Its name.
        summary: What it does, in one line.
        examples: Command lines.
        settings: Dataclass of its settings.
        extends: Verb whose settings that dataclass inherits; its help tells them.
        has_json: Whether it knows `--json`.
    """
    json = " [--json]" if has_json else ""
    told = fields(settings) if extends is None else _own(settings)
    parts = [
        f"usage: wmrobot {verb} {_subject(settings)}[key=value ...]{json}\n\n{summary}",
        "\n".join(["settings and their defaults:", *_settings(settings, told)]),
    ]
    if extends is not None:
        parts.append(f"and all others of {extends}: see `wmrobot {extends} --help`")
    if groups := [field.name for field in told if is_dataclass(_default(field))]:
        parts.append(f"what a group's settings mean: wmrobot {verb} --help <{'|'.join(groups)}>")
    if any(field.name == "profile" for field in fields(settings)):  # it changes the defaults
        parts.append(f"what all settings come to with a profile: wmrobot {verb} profile=nano --cfg")
    parts.append("\n".join(["examples:", *(f"  {example}" for example in examples)]))
    return "\n\n".join(parts)


def group_help(verb: str, settings: type[Any], group: str) -> str | None:
    """What `wmrobot <verb> --help <group>` prints; None where there is no such group.

    Of a choice between dataclasses, the first tells all of its settings, the others their own.
    """
    hint = get_type_hints(settings).get(group)
    choices = [option for option in (hint, *get_args(hint)) if is_dataclass(option)]
    if not choices:
        return None
    lines = [f"usage: wmrobot {verb} [task] [{group}.key=value ...]"]
    shown: set[str] = {"kind"}
    for choice in choices:
        assert isinstance(choice, type)
        title = cleandoc(choice.__doc__ or "").splitlines()[0]
        name = f"{group}={choice.kind}: " if hasattr(choice, "kind") else ""
        told = [field for field in fields(choice) if field.name not in shown]
        lines += ["", f"{name}{title}", *_settings(choice, told, f"{group}.")]
        shown.update(field.name for field in told)
    return "\n".join(lines)


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


def _subject(settings: type[Any]) -> str:
    """What a verb may be told without a `key=`."""
    names = {field.name for field in fields(settings)}
    return "[task] " if "task" in names else "<file> " if "file" in names else ""


def _own(cls: type[Any]) -> "tuple[Field[Any], ...]":
    """Fields that a dataclass declares itself, anew where it has inherited them."""
    return tuple(field for field in fields(cls) if field.name in get_annotations(cls))


def _settings(cls: type[Any], told: "Iterable[Field[Any]]", prefix: str = "") -> Iterator[str]:
    """One block of lines for each setting told; the groups, in short, come last."""
    docs = attribute_docs(cls)
    groups = {}
    for field in told:
        default = _default(field)
        if is_dataclass(default):
            groups[field.name] = default
            continue
        if isinstance(default, Mapping):
            yield from _entry(f"{prefix}{field.name}.<name>=", docs.get(field.name, ""))
            continue
        shown = "" if default is MISSING else _value(default)
        yield from _entry(f"{prefix}{field.name}={shown}", docs.get(field.name, ""))
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
