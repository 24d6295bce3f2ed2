"""`python -m wmrobot` is `wmrobot`."""

import sys

from wmrobot.app.cli import main

if __name__ == "__main__":  # spawned simulator processes import this file under another name
    sys.exit(main())
