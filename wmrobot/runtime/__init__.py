"""What a robot carries. Imports nothing of wmrobot, and no torch: numpy and onnxruntime alone.

from wmrobot.runtime import Planner

planner = Planner.load("bundle")
action = planner.act({"state": state})  # (B, O) float32 -> (B, A) float32 in [-1, 1]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmrobot.runtime.driving.state_builder import StateBuilder
    from wmrobot.runtime.planning.planner import Planner
    from wmrobot.runtime.planning.stages import Stages

__all__ = ["Planner", "Stages", "StateBuilder"]


def __getattr__(name: str) -> Any:
    """Load onnxruntime only when a planner is asked for: simulated tasks share our filters."""
    if name == "Planner":
        from wmrobot.runtime.planning.planner import Planner

        return Planner
    if name == "Stages":
        from wmrobot.runtime.planning.stages import Stages

        return Stages
    if name == "StateBuilder":
        from wmrobot.runtime.driving.state_builder import StateBuilder

        return StateBuilder
    raise AttributeError(f"module 'wmrobot.runtime' has no attribute {name!r}")
