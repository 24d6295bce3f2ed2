"""Ties are told from faults."""

from itertools import pairwise

import pytest
import torch

from wmrobot.export.parity import _ROUNDING, Swapped, _swaps


def test_only_returns_that_rounding_decides_about_may_change_places() -> None:
    near = 100 * _ROUNDING * 0.4
    row = [120.0, 100.0, 100.0 - near, 100.0 - 2 * near, 100.0 - 4 * near, 90.0]
    assert all(a >= b for a, b in pairwise(row))
    assert [swap for _, swap in _swaps(row, 3)] == [((2,), (3,)), ((1,), (3,))]
    assert list(_swaps(row, 1)) == []
    assert list(_swaps(row, 6)) == []
    assert list(_swaps([1.0, 0.0, float("-inf"), float("-inf")], 3)) == []


def test_what_needs_more_rounding_costs_more() -> None:
    costs = {swap: cost for cost, swap in _swaps([1.0, 1.0, 1.0 - _ROUNDING / 2], 2)}
    assert costs == {((1,), (2,)): pytest.approx(0.55), ((0,), (2,)): pytest.approx(0.55)}


def test_two_may_change_at_once() -> None:
    assert ((1, 0), (2, 3)) in [swap for _, swap in _swaps([5.0] * 4, 2)]


@pytest.mark.parametrize(
    ("swaps", "expected"),
    [((), [3, 1]), ((None,), [3, 1]), ((((0,), (2,)),), [0, 1]), ((((1, 0), (2, 3)),), [2, 0])],
)
def test_swapped_elites(swaps: tuple[None, ...], expected: list[int]) -> None:
    order = Swapped(swaps)
    with order:
        best = torch.tensor([[0.5, 2.0, 0.1, 3.0]]).topk(2, dim=1)
    assert sorted(best.indices[0].tolist()) == sorted(expected)
    assert len(order.options) == (not swaps)
