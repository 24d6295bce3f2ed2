"""Limits in closed form, their file, and two clocks told apart."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.realtime import DESCRIPTION, DT, MS
from wmrobot.runtime.errors import RobotError
from wmrobot.runtime.limits import Limiter, Limits, read_limits
from wmrobot.runtime.wire.clocks import Crossing


def limited(limits: Limits, actions: Sequence[float], step: int = DT) -> list[float]:
    limiter = Limiter(limits, DESCRIPTION)
    return [
        float(limiter.limit(np.array([action], np.float32), (k + 1) * step)[0])
        for k, action in enumerate(actions)
    ]


def test_without_limits_an_action_is_not_touched() -> None:
    actions = [float(np.float32(a)) for a in (0.1, -1.0, 1.0, 0.3333)]
    assert limited(Limits(), actions) == actions


def test_slew_is_per_second() -> None:
    found = limited(Limits(slew_per_s={"motor": 5.0}), [1.0] * 3 + [0.25])
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.25], rtol=1e-6)


def test_low_pass_is_first_order() -> None:
    found = limited(Limits(low_pass_hz=2.0), [1.0] * 50)
    time = DT * 1e-9 * np.arange(1, 51)
    np.testing.assert_allclose(found, 1 - np.exp(-2 * np.pi * 2.0 * time), rtol=1e-5)


def test_effort_is_a_mean_square_over_its_window() -> None:
    found = np.array(limited(Limits(effort={"motor": 0.5}, effort_window_s=1.0), [1.0] * 400))
    free = np.log(1 / (1 - 0.25))  # [s] until 1 - exp(-t) reaches 0.25
    assert (found[: int(free / 0.02)] == 1.0).all()
    np.testing.assert_allclose(found[-100:], 0.5, atol=1e-3)


def test_what_has_heated_a_motor_is_not_forgotten_at_a_reset() -> None:
    limiter = Limiter(Limits(effort={"motor": 0.5}), DESCRIPTION)
    full = np.ones(1, np.float32)
    for k in range(400):
        limiter.limit(full, (k + 1) * DT)
    limiter.reset()
    np.testing.assert_allclose(limiter.limit(full, 401 * DT), 0.5, atol=1e-3)


def test_an_action_for_the_same_time_replaces_the_last_one() -> None:
    limiter = Limiter(Limits(slew_per_s={"motor": 5.0}), DESCRIPTION)
    limiter.limit(np.array([1.0], np.float32), DT)
    again = limiter.limit(np.array([-1.0], np.float32), DT)
    np.testing.assert_allclose(again, [-0.1], rtol=1e-6)  # from rest, not from 0.1


def test_interventions_are_counted() -> None:
    limiter = Limiter(Limits(action={"motor": (-0.5, 0.5)}), DESCRIPTION)
    for action in (0.4, 0.6, -0.7):
        limiter.limit(np.array([action], np.float32), DT)
    assert limiter.interventions == {"action": 2}


def test_two_clocks_are_told_apart_from_the_way_between_them() -> None:
    crossing = Crossing()
    offset, way = 5_000 * MS, 3 * MS
    for k in range(100):
        mine = k * DT
        crossing.arrived(mine + offset, mine + way + (k % 5) * MS)
        crossing.reported(mine, mine + offset + way + (k % 7) * MS)
    assert crossing.theirs(0) == offset
    assert crossing.mine(offset) == 0
    assert crossing.slowest_up_ns == way + 6 * MS


def test_limits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    document = {
        "action": {"motor": [-0.8, 0.8]}, "slew_per_s": {"motor": 40.0}, "effort": {"motor": 0.7},
        "effort_window_s": 2.0, "low_pass_hz": 20.0, "position": {"position": [-1.9, 1.9]},
        "velocity": {"velocity": [-3, 3]},
    }  # fmt: skip
    path.write_text(json.dumps(document))
    limits = read_limits(path)
    Limiter(limits, DESCRIPTION)
    assert limits.action == {"motor": (-0.8, 0.8)}
    assert (limits.low_pass_hz, limits.effort_window_s) == (20.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"slew": 1}', "no limit named 'slew'"),
        ('{"action": {"motor": [0.5, -0.5]}}', "low < high"),
        ('{"action": {"motor": [NaN, 0.5]}}', "expected finite numbers"),
        ('{"action": {"motr": [-0.5, 0.5]}}', "no 'motr' on this robot. Known: motor"),
        ('{"action": {"motor": [0.1, 0.5]}}', "a robot at rest is at 0"),
        ('{"position": {"height": [0, 1]}}', "no 'height' on this robot"),
        ("{", "expected JSON"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(RobotError, match=message):
        Limiter(read_limits(path), DESCRIPTION)


def test_nan_is_out_of_range() -> None:
    limiter = Limiter(Limits(velocity={"velocity": (-1.0, 1.0)}), DESCRIPTION)
    assert limiter.breach(np.array([0.0, np.nan], np.float32)) == "velocity"
