"""What a drive came to: one document, told on a terminal and on a page."""

import math
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmrobot.app.driving.page import QUANTILES, page
from wmrobot.core.files import write_atomic
from wmrobot.core.machine import describe_machine, load_average
from wmrobot.runtime.driving.drive_log import DriveLog, Episode
from wmrobot.runtime.lateness import Lateness

if TYPE_CHECKING:
    from wmrobot.app.driving.run import Drive

SETTINGS = (
    "seed", "compensate", "iterations", "margin_ms", "threads", "cpu", "fifo", "restart", "view",
)  # fmt: skip
Z = 1.96  # of a two-sided interval of 95%


def make_document(drive: "Drive") -> dict[str, Any]:
    """Everything that is told, in plain values."""
    assert drive.driver is not None
    cfg, log, description = drive.cfg, drive.driver.log, drive.stages.description
    real = _returns(log)
    waited = None if drive.lockstep is None else _returns(drive.lockstep.log)
    return {
        "verb": "drive",
        "task": description.task,
        "bundle": cfg.bundle,
        "robot": cfg.robot,
        "over": drive.why_over,
        "control_dt": description.control_dt,
        "settings": {
            **{name: getattr(cfg, name) for name in SETTINGS},
            "sim": dict(cfg.sim),
            "guard": dict(cfg.guard),
        },
        "machine": _machine(),
        "seconds": log.running_seconds,
        "rate_hz": _rates(log),
        "ticks": _ticks(log),
        "lateness_ms": _lateness(drive, log),
        "commands": {"in_time": log.in_time, "late": log.late, "sent": dict(log.sent)},
        "planning_ms": {name: _ms(taken) for name, taken in log.taken.items()},
        "iterations": {str(n): count for n, count in sorted(log.iterations.items())},
        "lead_ticks": {str(n): count for n, count in sorted(log.leads.items())},
        "transport_ms": {"reading": _ms(log.age), "round_trip": _ms(log.round_trip)},
        "readings": {"taken": log.readings, "lost": log.lost, "unusable": log.unusable},
        "returns": {
            "real_time": real,
            "lockstep": waited,
            "share": _share(real["mean"], None if waited is None else waited["mean"]),
        },
        "motion": log.motion.summary(description.control_dt),
        "guard": log.statuses.get("guard"),
        "robot_status": log.statuses.get("robot"),
        "memory_mib": [[round(s, 1), round(mib, 2)] for s, mib in log.memory if mib == mib],
        "recording": drive.recording,
        "window": drive.window,
        "remarks": drive.remarks,
    }  # fmt: skip


def interval(count: int, total: int) -> tuple[float, float] | None:
    """Wilson's 95% interval of a share, as if ticks were independent; None of nothing."""
    if total == 0:
        return None
    share, spread = count / total, Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) / total + spread / (4 * total)) * Z / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def tell(document: Mapping[str, Any], page_path: Path) -> None:
    """Print a drive."""
    print("\n".join(_lines(document)))
    recording = document["recording"]
    if recording is not None:
        print(f"recording: {recording['path']}, {recording['written']} decisions")
        if recording["error"] is not None:
            print(
                f"  it broke off: {recording['error']}; {recording['dropped']} decisions are lost"
            )
    print(f"report: {page_path}")


def write_page(out: Path, document: Mapping[str, Any], log: DriveLog) -> Path:
    """Write the page of a drive; returns where it lies."""
    path = out / "index.html"
    write_atomic(path, page(document, log.trace).encode())
    return path


def _lines(d: Mapping[str, Any]) -> Iterator[str]:
    ticks, real, waited = d["ticks"], d["returns"]["real_time"], d["returns"]["lockstep"]
    yield f"{d['task']} on {d['robot']}: {d['seconds']:.1f} s, ended by: {d['over']}"
    yield f"rate: robot {d['rate_hz']['robot']:.2f} Hz, fresh plans {d['rate_hz']['plans']:.2f} Hz"
    share = "" if ticks["interval"] is None else (
        f" = {ticks['share']:.2%}, 95% interval {ticks['interval'][0]:.2%} to "
        f"{ticks['interval'][1]:.2%}"
    )  # fmt: skip
    rungs = ", ".join(f"{name} {n}" for name, n in ticks["by_rung"].items())
    yield f"ticks without a fresh plan: {ticks['missed']} of {ticks['total']}{share} ({rungs})"
    yield f"{'[ms]':32}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}"
    for name, row in d["lateness_ms"].items():
        if row is not None:
            yield _row(f"lateness, {name.replace('_', ' ')}", row)
    for name, row in (*d["planning_ms"].items(), *d["transport_ms"].items()):
        if row["count"]:
            kind = "planning" if name in d["planning_ms"] else "transport"
            yield _row(f"{kind}, {name.replace('_', ' ')}", row)
    yield f"iterations: {_counts(d['iterations'])}; lead [ticks]: {_counts(d['lead_ticks'])}"
    if real["mean"] is not None:
        beside = ""
        if waited is not None and waited["mean"] is not None:
            beside = f", in lock-step {waited['mean']:.1f} of {waited['episodes']}"
        broken = f", {real['broken_off']} more broken off" if real["broken_off"] else ""
        yield f"return: {real['mean']:.1f} of {real['episodes']} episodes{broken}{beside}"
    motion = d["motion"]
    if motion["action_jerk_per_s2"] is not None:
        yield (
            f"action: rate {motion['action_rate_per_s']:.2f}/s, "
            f"jerk {motion['action_jerk_per_s2']:.0f}/s2"
        )
    if d["guard"] is not None:
        yield f"guard: ended in {d['guard'].get('state', '?')}, {_guard(d['guard'])}"
    yield from d["remarks"]


def _row(name: str, row: Mapping[str, float]) -> str:
    return f"  {name:30}" + "".join(f"{row[q]:9.3f}" for q in QUANTILES)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in counts.items()) or "none"


def _guard(status: Mapping[str, Any]) -> str:
    interventions = status.get("interventions") or {}
    told = ", ".join(f"{name} {n}" for name, n in interventions.items() if n)
    return f"interventions: {told or 'none'}, {len(status.get('transitions') or ())} transitions"


def _ticks(log: DriveLog) -> dict[str, Any]:
    total = sum(log.ticks.values())
    return {
        "total": total,
        "missed": log.misses,
        "share": log.misses / total if total else None,
        "interval": interval(log.misses, total),
        "by_rung": log.ticks,
    }


def _rates(log: DriveLog) -> dict[str, float]:
    seconds = log.running_seconds
    return {
        "robot": log.running_ticks / seconds if seconds else 0.0,
        "plans": log.fresh / seconds if seconds else 0.0,
    }


def _lateness(drive: "Drive", log: DriveLog) -> dict[str, Any]:
    told = (log.statuses.get("robot") or {}).get("lateness_s")
    return {
        "empty_loop": None if drive.empty_loop is None else _ms(drive.empty_loop),
        "robot_tick": None if told is None else _in_ms(told),
        "command_at_robot": _ms(log.command) if log.command.summary()["count"] else None,
    }


def _ms(lateness: Lateness) -> dict[str, float]:
    return _in_ms(lateness.summary())


def _in_ms(summary: Mapping[str, float]) -> dict[str, float]:
    return {name: v if name == "count" else round(v * 1e3, 4) for name, v in summary.items()}


def _returns(log: DriveLog) -> dict[str, Any]:
    whole: list[Episode] = [episode for episode in log.episodes if episode.over]
    totals = [episode.total for episode in whole]
    return {
        "mean": float(np.mean(totals)) if totals else None,
        "std": float(np.std(totals, ddof=1)) if len(totals) > 1 else None,
        "episodes": len(totals),
        "broken_off": len(log.episodes) - len(whole),
        "each": [round(total, 3) for total in totals],
        "successes": sum(episode.success for episode in whole),
        "untold_rewards": sum(episode.untold for episode in whole),
    }


def _share(real: float | None, waited: float | None) -> float | None:
    return real / waited if real is not None and waited else None


def _machine() -> dict[str, Any]:
    return {
        "machine": describe_machine(),
        "kernel": platform.release()
        + (" PREEMPT_RT" if "PREEMPT_RT" in platform.version() else ""),
        "load": load_average(),
        "python": platform.python_version(),
    }
