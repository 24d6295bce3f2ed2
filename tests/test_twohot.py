"""Scalars as two-hot distributions: round trips, and cross-entropies against dense ones."""

import math

import pytest
import torch
from torch import Tensor

from wmrobot.nn.twohot import TwoHot, symexp, symlog


def dense(two_hot: TwoHot, target: float) -> Tensor:
    """The code written by hand: the two bins around symlog(target) share one."""
    x = math.copysign(math.log1p(abs(target)), target)
    bins = two_hot.bins.tolist()
    x = min(max(x, bins[0]), bins[-1])
    code = torch.zeros(len(bins))
    upper = min(next((i for i, edge in enumerate(bins) if edge > x), len(bins) - 1), len(bins) - 1)
    share = (x - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
    code[upper - 1], code[upper] = 1 - share, share
    return code


TARGETS = [0.0, 1.0, -1.0, 0.37, 3.3, -250.0, 1e4, 22025.4, 1e9, -1e9]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("num_bins", [2, 51, 101])
def test_loss_is_the_cross_entropy_with_the_dense_code(target: float, num_bins: int) -> None:
    two_hot = TwoHot(num_bins, -10, 10)
    logits = torch.randn(num_bins, generator=torch.Generator().manual_seed(0))
    expected = -(dense(two_hot, target) * logits.log_softmax(dim=0)).sum()
    found = two_hot.loss(logits, torch.tensor(target))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 0.37, 3.3, -250.0, 1e4])
def test_code_and_back(target: float) -> None:
    two_hot = TwoHot(101, -10, 10)
    logits = dense(two_hot, target).log()  # softmax undoes it
    assert two_hot.decode(logits).item() == pytest.approx(target, rel=2e-5, abs=1e-5)


def test_loss_is_least_at_its_own_code() -> None:
    two_hot = TwoHot(21, -5, 5)
    logits = dense(two_hot, 7.5).clamp(min=1e-9).log().requires_grad_()
    two_hot.loss(logits, torch.tensor(7.5)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_uniform_logits_mean_zero() -> None:
    assert TwoHot(101, -10, 10).decode(torch.zeros(101)).abs() < 1e-6


def test_what_is_out_of_range_is_told_as_the_last_bin() -> None:
    two_hot = TwoHot(11, -2, 2)
    logits = torch.zeros(2, 11)
    logits[0, -1] = logits[1, 0] = 50.0
    limit = math.expm1(2)
    torch.testing.assert_close(two_hot.decode(logits), torch.tensor([limit, -limit]))
    target = torch.tensor([1e6, -1e6])
    torch.testing.assert_close(two_hot.loss(logits, target), torch.zeros(2), atol=1e-6, rtol=0.0)


def test_batches_of_any_shape() -> None:
    two_hot = TwoHot(21, -3, 3)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 21, generator=generator)
    target = torch.randn(2, 3, 4, generator=generator)
    loss, value = two_hot.loss(logits, target), two_hot.decode(logits)
    assert loss.shape == value.shape == (2, 3, 4)
    torch.testing.assert_close(loss[1, 2, 3], two_hot.loss(logits[1, 2, 3], target[1, 2, 3]))


def test_a_target_that_is_no_number_makes_a_loss_that_is_none() -> None:
    target = torch.tensor([float("nan"), 1.0])
    loss = TwoHot(21, -3, 3).loss(torch.zeros(2, 21), target)
    assert loss.isnan().tolist() == [True, False]


def test_symexp_undoes_symlog() -> None:
    x = torch.tensor([-1e4, -1.0, -1e-6, 0.0, 1e-6, 2.5, 1e4])
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=1e-5, atol=1e-10)
    assert symlog(torch.tensor([0.0, math.e - 1])).tolist() == pytest.approx([0.0, 1.0])
