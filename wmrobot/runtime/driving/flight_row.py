"""One decision with all that it was made from, and how it is written: a row of JSON."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from wmrobot.runtime.driving.deadline import Decision
from wmrobot.runtime.robot import Reading

_NUMBER, _WHOLE, _TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
_NUMBERS = {"type": "array", "items": _NUMBER}
_PLAN = {"type": "array", "items": _NUMBERS}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "sequence time_ns arrived_ns sent_ns episode decision applied received noise_seed": _WHOLE,
    "shift iterations lead due_ns when_ns": _WHOLE,
    "reward value spread": _NUMBER,
    "phase rung guard guard_reason": _TEXT,
    "sensors command state pose ticks": _NUMBERS,
    "committed previous plan std": _PLAN,
    "previous_elites": {"type": "array", "items": _PLAN},
    "taken_ms": {"type": "object", "additionalProperties": _NUMBER},
}
SCHEMA = {
    "type": "object",
    "title": "wmrobot.Decision",
    "properties": {name: kind for names, kind in _KINDS.items() for name in names.split()},
}


class Row(NamedTuple):
    """One decision, as it waits to be written."""

    reading: Reading
    decision: Decision
    arrived_ns: int
    sent_ns: int
    guard: tuple[str, str]


def to_json(row: Row) -> dict[str, Any]:
    """A decision as one row of the file."""
    reading, decision = row.reading, row.decision
    start, plan, command = decision.start, decision.plan, decision.command
    valid = bool(start.previous.valid[0])
    return {
        "sequence": reading.sequence,
        "time_ns": reading.time_ns,
        "arrived_ns": row.arrived_ns,
        "sent_ns": row.sent_ns,
        "phase": reading.phase.name,
        "episode": reading.episode,
        "decision": reading.decision,
        "sensors": reading.sensors.tolist(),
        "command": reading.command.tolist(),
        "applied": reading.applied,
        "received": reading.received,
        "ticks": list(reading.ticks),
        "pose": reading.pose.tolist(),
        "reward": reading.outcome.reward,
        "state": start.state[0].tolist(),
        "committed": start.committed.tolist(),
        "noise_seed": start.noise_seed,
        "previous": start.previous.mean[0].tolist() if valid else None,
        "previous_elites": start.previous.elites[0].tolist() if valid else None,
        "shift": start.decisions,
        "iterations": decision.iterations,
        "lead": decision.lead,
        "due_ns": decision.due_ns,
        "rung": "NONE" if command is None else command.rung.name,
        "when_ns": None if command is None else command.when_ns,
        "plan": None if plan is None else plan.mean[0].tolist(),
        "std": None if plan is None else plan.std[0].tolist(),
        "value": None if plan is None else float(plan.value[0]),
        "spread": None if plan is None else float(plan.spread[0]),
        "taken_ms": {name: taken * 1e-6 for name, taken in decision.taken_ns.items()},
        "guard": row.guard[0],
        "guard_reason": row.guard[1],
    }
