"""What a drive amounts to, from readings and decisions whose sums are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.test_drive import decision
from wmrobot.runtime.driving.drive_log import DriveLog, Episode
from wmrobot.runtime.driving.timing import MS, RobotTime
from wmrobot.runtime.robot import Outcome, Phase, Reading

DT = 20 * MS
OFFSET, DOWN = 7_000 * MS, 3 * MS  # this clock minus the robot's; how long a reading takes


def tell(
    log: DriveLog, sequence: int, phase: Phase, decided: int, reward: float = 0.0, **told: Any
) -> Reading:
    """The log is told of a reading."""
    planner: Any = SimpleNamespace(time=RobotTime())
    planner.time.heard(0, OFFSET)  # the fastest one took no time
    planner.time.round_trip.add(5 * MS)
    reading = Reading(
        sequence=sequence, time_ns=sequence * DT, phase=phase, decision=decided,
        sensors=np.zeros(3, np.float32), command=np.full(1, sequence / 10, np.float32),
        outcome=Outcome(reward=reward, success=phase is Phase.ENDED),
        **{"episode": 1, **told},
    )  # fmt: skip
    log.reading(reading, reading.time_ns + OFFSET + DOWN, planner)
    return reading


def test_what_is_lost_late_and_over_is_counted() -> None:
    log = DriveLog()
    tell(log, 1, Phase.READY, 0)
    running = tell(log, 2, Phase.RUNNING, 0)
    made = decision(0.5)  # due at 9 ns
    log.decision(running, made, 7, 8)
    log.decision(running, made, 7, 9)
    log.decision(running, made, 7, 10)
    log.decision(running, decision(0.5, fresh=False), 7, 10)  # nothing was sent
    tell(log, 4, Phase.RUNNING, 2, reward=1.0)
    tell(log, 5, Phase.ENDED, 3, reward=0.5)
    tell(log, 6, Phase.ENDED, 3, reward=0.5)  # told again until the reset
    tell(log, 7, Phase.READY, 0, episode=2)
    tell(log, 8, Phase.RUNNING, 0, episode=2)
    tell(log, 9, Phase.RUNNING, 1, reward=np.nan, episode=2)
    tell(log, 10, Phase.RUNNING, 2, reward=0.25, episode=2)
    assert (log.readings, log.lost, log.in_time, log.late, log.fresh) == (9, 1, 2, 1, 3)
    assert log.sent == {"fresh": 3, "none": 1}
    assert log.episodes_begun == 2
    assert list(log.episodes) == [
        Episode(1, total=1.5, decisions=3, untold=1, success=True, over=True),
        Episode(2, total=0.25, decisions=2, untold=0, success=False, over=False),
    ]
    assert (log.running_ticks, log.running_ns) == (4, 5 * DT)
    assert log.running_seconds == pytest.approx(0.1)


def test_an_episode_counts_whose_first_readings_were_lost() -> None:
    log = DriveLog()
    tell(log, 1, Phase.RUNNING, 41, reward=9.0, episode=0)  # it was running before the drive began
    tell(log, 2, Phase.RUNNING, 42, reward=9.0, episode=0)
    tell(log, 3, Phase.READY, 0)
    tell(log, 4, Phase.RUNNING, 0)
    tell(log, 5, Phase.RUNNING, 1, reward=1.0)
    tell(log, 8, Phase.RUNNING, 2, reward=0.5, episode=2)
    tell(log, 9, Phase.ENDED, 3, reward=0.25, episode=2)
    assert log.episodes_begun == 2
    assert list(log.episodes) == [
        Episode(1, total=1.0, decisions=1, untold=0, success=False, over=False),
        Episode(2, total=0.75, decisions=3, untold=1, success=True, over=True),
    ]
    assert (log.running_ticks, log.running_ns) == (2, 2 * DT)


def test_how_late_commands_and_readings_came_is_measured() -> None:
    log = DriveLog()
    running = tell(log, 1, Phase.RUNNING, 0)
    log.decision(running, decision(0.5), 7, 8)  # command 4, for 25 ns
    tell(log, 2, Phase.RUNNING, 1, received=4, received_ns=25 + 2 * MS)
    tell(log, 3, Phase.RUNNING, 2, received=4, received_ns=25 + 2 * MS, ticks=(6, 2, 0, 1, 0))
    assert log.age.summary()["max"] == pytest.approx(3e-3)
    assert (log.age.summary()["count"], log.command.summary()["count"]) == (3, 1)
    assert log.command.summary()["max"] == pytest.approx(2e-3)
    assert log.round_trip.summary()["max"] == pytest.approx(5e-3)
    assert log.misses == 3
    assert log.ticks == {"fresh": 6, "shifted": 2, "prior": 0, "hold": 1, "stop": 0}
