"""How the command line ends where it fails: one line on stderr, and an exit code."""

import errno
import os
import sys
import traceback

from wmrobot.app.extras import EXTRAS, how_to_install
from wmrobot.core.errors import WmrobotError
from wmrobot.runtime.errors import RobotError

CURABLE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.EDQUOT, errno.ENOSPC),
        *(errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR),
    }
)
"""What the operating system refuses and a user can cure; other `OSError`s are bugs."""

FULL_ERROR = "HYDRA_FULL_ERROR"
"""Variable of the environment that asks for whole tracebacks, by the name that Hydra gave it."""
USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def exit_code(error: Exception) -> int | None:
    """What to exit with; what a user can cure is told in one line. None for a bug."""
    if _is_interruption(error):
        return INTERRUPTED
    match error:
        case WmrobotError() | RobotError():
            if os.environ.get(FULL_ERROR, "0") not in ("", "0"):
                traceback.print_exc()
            return _complain(str(error))
        case ModuleNotFoundError():
            package = (error.name or "").partition(".")[0]
            return _complain(how_to_install(package)) if package in EXTRAS else None
        case BrokenPipeError():
            # The reader has left, as `head` does. Python would complain once more while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        case OSError() if error.errno in CURABLE:
            where = f"{error.filename}: " if error.filename else ""
            return _complain(f"{where}{error.strerror}")
    return None


def _is_interruption(error: BaseException | None) -> bool:
    """Whether it came of Ctrl-C: who is interrupted, as torch's exporter, may raise its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _complain(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR
