"""What every script of `benchmarks/` begins with."""

import sys
from collections.abc import Callable
from typing import NoReturn


def run_script(main: Callable[[list[str]], int | None], text: str | None) -> NoReturn:
    """Run a script and leave.

    Args:
        main: Takes the words of the command line; may give an exit code.
        text: The script's docstring, which `--help` prints.
    """
    words = sys.argv[1:]
    if {"--help", "-h"}.intersection(words):
        print((text or "").strip())
        sys.exit(0)
    sys.exit(main(words))
