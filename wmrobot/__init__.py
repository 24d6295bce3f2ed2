"""Train a world model of a robot, plan in it in real time, ship the planner.

Importing this package loads nothing heavy: torch, MuJoCo and Hydra come in with what uses them.
Where Gymnasium is imported already, its ids `wmrobot/<task>-v0` are registered on the way
(Gymnasium itself looks for no plugins since 1.0).
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmrobot.app.controllers import load_controller

__version__ = "0.1.0"
__all__ = ["__version__", "load_controller"]

if "gymnasium" in sys.modules:
    import wmrobot.envs.ids  # noqa: F401


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for."""
    if name == "load_controller":
        from wmrobot.app.controllers import load_controller

        return load_controller
    raise AttributeError(f"module 'wmrobot' has no attribute {name!r}")
