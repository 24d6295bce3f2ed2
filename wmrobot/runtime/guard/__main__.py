"""The guard's process: `python -m wmrobot.runtime.guard robot=HOST:PORT bundle=FOLDER`.

It stands between planner and robot, needs neither torch nor onnxruntime, and does nothing else. Its
settings are those of `wmrobot.runtime.guard.loop.GuardConfig`.
"""

import sys
from collections.abc import Sequence

from wmrobot.runtime.errors import RobotError


def main(words: Sequence[str] | None = None) -> int:
    """Run a guard; what a user can cure becomes one line on stderr and exit code 2."""
    try:
        # Here, as a package that is missing is told in one line as well.
        from wmrobot.runtime.guard.loop import GuardConfig, run_guard
        from wmrobot.runtime.words import read_words

        run_guard(read_words(GuardConfig, sys.argv[1:] if words is None else words))
    except RobotError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
