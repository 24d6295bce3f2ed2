"""What goes to stdout: text for people, or one JSON document and nothing else."""

import io
import json
import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from wmrobot.core.errors import ConfigError
from wmrobot.core.files import user_path

_documents: list[TextIO] = []


def emit(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command called with `--json`."""
    stream = _documents[-1] if _documents else sys.stdout
    print(json.dumps(document, indent=2, allow_nan=False), file=stream, flush=True)


def output_folder(setting: str, value: str) -> Path:
    """Make the folder that a setting names, before any work is done for it.

    Raises:
        ConfigError: A file stands there, or above it.
    """
    folder = user_path(value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(
            f"{setting}: expected a folder, got {value}, which is a file or lies in one"
        ) from None
    return folder


def output_file(setting: str, path: Path) -> None:
    """Make the folder that a file, or a folder of its own, is to lie in, before any work is done.

    Raises:
        ConfigError: A file stands above it, or nothing can be written there.
    """
    parent = output_folder(setting, str(path.parent))
    if not os.access(parent, os.W_OK):
        raise ConfigError(f"{setting}: expected a place to write to, got {path}; choose another")


@contextmanager
def only_documents() -> Iterator[None]:
    """Keep stdout for `emit`; all else goes to stderr, C libraries and child processes included."""
    stream = sys.stdout
    stream.flush()
    saved = None
    with suppress(io.UnsupportedOperation):  # a stream without a file has no children to silence
        descriptor = stream.fileno()
        saved = os.dup(descriptor)
        os.dup2(sys.stderr.fileno(), descriptor)
    _documents.append(stream if saved is None else os.fdopen(saved, "w", closefd=False))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _documents.pop()
        if saved is not None:
            os.dup2(saved, descriptor)
            os.close(saved)


def aligned(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Container[str]
) -> Iterator[str]:
    """Lines of a table: columns named in `left` start at the left, others end at the right."""
    cells = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ]
        yield "  ".join(padded).rstrip()
