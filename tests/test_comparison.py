"""Seeds beside what was published: figures that can be worked out by hand."""

import numpy as np
import pytest

from wmrobot.app.sweeping.anchors import Published
from wmrobot.app.sweeping.comparison import bootstrap_interval, compare
from wmrobot.app.training.result import Result

PUBLISHED = Published(
    steps=np.array([0.0, 3000.0, 9000.0]), returns=np.array([[0.0, 190, 800], [0, 210, 900]])
)


def result(seed: int, rewards: list[float], *, finished: bool = True) -> Result:
    count = len(rewards)
    return Result(
        seed=seed,
        profile="nano",
        machine="abacus",
        commit="0",
        steps=1000.0 * np.arange(1, count + 1),
        rewards=np.array(rewards, dtype=np.float64),
        wall_clock_s=60.0 * seed * np.arange(1, count + 1),
        finished=finished,
    )


def test_mean_reaches_the_reference_where_it_does() -> None:
    found = compare([result(1, [100, 180, 200]), result(3, [120, 202, 220])], PUBLISHED)
    assert found is not None
    np.testing.assert_allclose(found.mean, [110, 191, 210])
    assert (found.reference_step, found.reference) == (3000, 200.0)
    assert found.percent == pytest.approx(105)
    assert found.reached == 1  # 191 is the first of at least 190
    np.testing.assert_allclose(found.minutes, [2, 4, 6])  # mean of seeds 1 and 3
    np.testing.assert_allclose(found.interval[:, -1], [200, 220])


def test_it_may_never_be_reached() -> None:
    found = compare([result(1, [100, 150, 189])], PUBLISHED)
    assert found is not None
    assert found.reached is None
    assert np.isnan(found.interval).all()  # one seed has no interval


def test_what_has_not_finished_does_not_count() -> None:
    unfinished = result(2, [1000, 1000], finished=False)
    found = compare([result(1, [100, 180, 200]), unfinished], PUBLISHED)
    assert found is not None
    assert len(found.returns) == 1
    assert compare([unfinished], PUBLISHED) is None
    assert compare([], PUBLISHED) is None


def test_only_steps_that_all_seeds_have_are_compared() -> None:
    found = compare([result(1, [100, 180, 200]), result(2, [100, 180])], None)
    assert found is not None
    np.testing.assert_array_equal(found.steps, [1000, 2000])
    assert (found.reference, found.reference_step, found.percent) == (None, None, None)
    assert found.reached is None


def test_interval_of_many_seeds_is_the_gaussian_one() -> None:
    values = np.random.default_rng(1).normal(50, 10, size=(400, 2))
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(axis=0) / 20
    np.testing.assert_allclose(high - low, 2 * half, rtol=0.06)
    np.testing.assert_allclose((high + low) / 2, values.mean(axis=0), atol=0.1)


def test_interval_is_the_same_every_time() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    np.testing.assert_array_equal(bootstrap_interval(values), bootstrap_interval(values))
    np.testing.assert_allclose(bootstrap_interval(values)[:, 0], [1, 4])
