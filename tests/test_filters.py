import math
import subprocess
import sys

import numpy as np
import pytest

from wmrobot.runtime.filters import VelocityFilter

CUTOFF, DT = 50.0, 0.002


def make_filter(dt: float = DT) -> VelocityFilter:
    velocity_filter = VelocityFilter(cutoff=CUTOFF, dt=dt)
    velocity_filter.reset(np.zeros(1))
    return velocity_filter


def test_step_of_velocity_rises_as_the_first_order_response() -> None:
    velocity_filter = make_filter()
    for k in range(1, 101):
        (velocity,) = velocity_filter.update(np.array([3.0 * k * DT]))
        assert velocity == pytest.approx(3.0 * (1.0 - math.exp(-CUTOFF * k * DT)), abs=1e-12)


def test_angles_may_change_in_place() -> None:
    velocity_filter, angle = make_filter(), np.zeros(1)
    for _ in range(100):
        angle += 3.0 * DT
        velocity = velocity_filter.update(angle)
    assert velocity[0] == pytest.approx(3.0, rel=1e-3)


def test_sine_at_the_cutoff_loses_three_decibels() -> None:
    dt = 1e-4  # fine enough for the difference of angles to be the derivative
    velocity_filter = make_filter(dt)
    times = np.arange(1, 20_001) * dt
    velocity = [velocity_filter.update(np.array([math.sin(CUTOFF * t) / CUTOFF]))[0] for t in times]
    assert max(velocity[10_000:]) == pytest.approx(math.sqrt(0.5), rel=5e-3)


def test_one_encoder_count_shows_as_cutoff_times_count_at_most() -> None:
    count = 2.0 * math.pi / 2048
    (velocity,) = make_filter().update(np.array([count]))
    assert 0.9 * CUTOFF * count < velocity < CUTOFF * count
    (velocity,) = make_filter(dt=1e-6).update(np.array([count]))
    assert velocity <= CUTOFF * count


def test_is_causal_and_starts_at_rest() -> None:
    velocity_filter = VelocityFilter(cutoff=CUTOFF, dt=DT)
    velocity_filter.reset(np.array([5.0, -2.0]))
    np.testing.assert_array_equal(velocity_filter.velocity, 0.0)
    np.testing.assert_array_equal(velocity_filter.update(np.array([5.0, -2.0])), 0.0)


def test_saved_state_continues_bit_for_bit() -> None:
    generator = np.random.default_rng(0)
    first, second = make_filter(), VelocityFilter(cutoff=CUTOFF, dt=DT)
    first.update(generator.normal(size=1))
    second.state = first.state
    for angle in generator.normal(size=(5, 1)):
        np.testing.assert_array_equal(first.update(angle), second.update(angle))


@pytest.mark.parametrize(("cutoff", "dt"), [(0.0, 0.1), (math.nan, 0.1), (50.0, -1.0)])
def test_impossible_settings_are_refused(cutoff: float, dt: float) -> None:
    with pytest.raises(ValueError, match=r"expected cutoff > 0 rad/s and dt > 0 s, got"):
        VelocityFilter(cutoff=cutoff, dt=dt)


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"angle: expected shape \(1,\), got \(2,\); reset"):
        make_filter().update(np.zeros(2))


def test_filters_load_nothing_but_numpy() -> None:
    code = (
        "import sys, wmrobot.runtime.filters as f\n"
        "print([m for m in ('torch', 'mujoco', 'hydra', 'wmrobot.core') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
