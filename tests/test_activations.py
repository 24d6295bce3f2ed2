"""Mish and SimNorm against torch and against their definitions."""

import pytest
import torch
from torch.nn import functional

from wmrobot.nn.activations import mish, simnorm


@pytest.mark.parametrize("learns", [False, True])
def test_mish_is_mish(learns: bool) -> None:
    x = torch.cat([torch.linspace(-30, 30, 4001), torch.tensor([-1e4, 1e4, 0.0, -1e30, 1e30])])
    found = mish(x.clone().requires_grad_(learns))
    torch.testing.assert_close(found.detach(), functional.mish(x), atol=2e-6, rtol=1e-6)


def test_gradient_of_mish_is_its_derivative() -> None:
    x = torch.linspace(-12, 25, 300, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mish, x)
    far = torch.tensor([-1e4, -50.0, 50.0, 1e4], requires_grad=True)
    mish(far).sum().backward()
    torch.testing.assert_close(far.grad, torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_mish_leaves_its_input_alone() -> None:
    x = torch.linspace(-3, 3, 7)
    mish(x)
    mish(x.requires_grad_())
    assert x.equal(torch.linspace(-3, 3, 7))


def test_mish_passes_nan_on() -> None:
    assert mish(torch.tensor([float("nan"), 0.0])).isnan().tolist() == [True, False]


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 16)])
def test_simnorm_is_a_softmax_of_each_group(shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = simnorm(x, 4)
    for first in range(0, shape[-1], 4):
        group = slice(first, first + 4)
        torch.testing.assert_close(found[..., group], x[..., group].softmax(dim=-1))


def test_simnorm_of_known_groups() -> None:
    x = torch.tensor([0.0, 0.0, 0.0, torch.log(torch.tensor(3.0))])
    torch.testing.assert_close(simnorm(x, 2), torch.tensor([0.5, 0.5, 0.25, 0.75]))
    assert simnorm(torch.zeros(0, 8), 4).shape == (0, 8)


def test_simnorm_stays_a_simplex_far_out() -> None:
    z = simnorm(torch.tensor([1e4, -1e4, 0.0, 5.0, -1e4, -1e4, -1e4, -1e4]), 4)
    torch.testing.assert_close(z.unflatten(0, (2, 4)).sum(dim=1), torch.ones(2))
    assert (z >= 0).all()


def test_gradient_of_simnorm_is_that_of_softmax() -> None:
    x = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: simnorm(x, 4), x.requires_grad_())


def test_simnorm_passes_nan_on_to_its_own_group_only() -> None:
    z = simnorm(torch.tensor([float("nan"), 0.0, 0.0, 0.0]), 2)
    assert z.isnan().tolist() == [True, True, False, False]
