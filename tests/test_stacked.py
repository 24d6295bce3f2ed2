"""Stacked networks against as many plain ones, layer by layer."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.doubles import tiny_model
from wmrobot.nn.stacked import INIT_STD, NormedLinear, StackedBody, StackedLinear, make_linear


def body(groups: int = 3, in_dim: int = 5, width: int = 7) -> StackedBody:
    generator = torch.Generator().manual_seed(0)
    stacked = StackedBody(groups, in_dim, width)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return stacked


def plain(stacked: StackedBody, group: int, dropout_mask: Tensor | None = None) -> nn.Module:
    """The same network of torch's own layers."""

    class Mask(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if dropout_mask is None else x * dropout_mask[group]

    layers: list[nn.Module] = []
    for layer in (stacked.first, stacked.second):
        _, in_dim, out_dim = layer.linear.weight.shape
        linear, norm = nn.Linear(in_dim, out_dim), nn.LayerNorm(out_dim)
        with torch.no_grad():
            linear.weight.copy_(layer.linear.weight[group].T)
            linear.bias.copy_(layer.linear.bias[group, 0])
            norm.weight.copy_(layer.norm_weight[group, 0])
            norm.bias.copy_(layer.norm_bias[group, 0])
        dropout = [Mask()] if layer is stacked.first else []
        layers += [linear, *dropout, norm, nn.Mish()]
    return nn.Sequential(*layers)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """An input (n, 5) as latents (n, 3) and actions (n, 2)."""
    return x[:, :3], x[:, 3:]


def test_stacked_networks_are_separate_networks() -> None:
    stacked = body()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([plain(stacked, group)(x) for group in range(3)])
    torch.testing.assert_close(stacked(*split(x)), expected)


def test_gradients_are_those_of_separate_networks() -> None:
    stacked = body()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    stacked(*split(x)).square().sum().backward()
    for group in range(3):
        network = plain(stacked, group)
        network(x).square().sum().backward()
        first = network[0]
        assert isinstance(first, nn.Linear)
        found = stacked.first.linear.weight.grad
        assert found is not None
        torch.testing.assert_close(found[group].T, first.weight.grad, atol=1e-4, rtol=1e-4)


def test_chosen_heads_are_rows_of_all() -> None:
    stacked = body()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    heads = torch.tensor([2, 0])
    torch.testing.assert_close(stacked(*split(x), heads), stacked(*split(x))[heads])


def test_dropout_mask_acts_in_the_first_layer_before_its_norm() -> None:
    stacked = body()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 5, generator=generator)
    mask = torch.empty(3, 6, 7).bernoulli_(0.5, generator=generator) * 2
    expected = torch.stack([plain(stacked, group, mask)(x) for group in range(3)])
    torch.testing.assert_close(stacked(*split(x), None, mask), expected)
    assert not stacked(*split(x)).equal(expected)


def test_every_layer_may_have_an_input_of_its_own() -> None:
    layer = StackedLinear(2, 3, 4)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([x[g] @ layer.weight[g] + layer.bias[g] for g in range(2)])
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("heads", [None, torch.tensor([2, 0])])
def test_latents_that_candidates_share_are_multiplied_once(heads: Tensor | None) -> None:
    stacked = body()
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 1, 3, generator=generator)
    action = torch.randn(2, 4, 2, generator=generator)
    expected = stacked(z.expand(2, 4, 3), action, heads)
    torch.testing.assert_close(stacked(z, action, heads), expected, atol=1e-5, rtol=1e-5)


def test_no_rows_give_no_rows() -> None:
    assert body()(torch.zeros(0, 3), torch.zeros(0, 2)).shape == (3, 0, 7)


@pytest.mark.parametrize("stacked", [True, False])
def test_weights_start_truncated_normal_and_biases_at_zero(stacked: bool) -> None:
    torch.manual_seed(0)
    layer = StackedLinear(4, 200, 100) if stacked else make_linear(400, 200)
    count = layer.weight.numel()
    assert layer.weight.std().item() == pytest.approx(0.02, rel=4 / math.sqrt(count))
    assert abs(layer.weight.mean().item()) < 5 * INIT_STD / math.sqrt(count)
    assert not layer.bias.any()
    if stacked:  # every network is another one
        assert layer.weight.flatten(1).unique(dim=0).shape[0] == 4


def test_zero_layers_start_at_zero() -> None:
    assert not StackedLinear(2, 3, 4, zero=True).weight.any()
    assert not make_linear(3, 4, zero=True).weight.any()


@pytest.mark.parametrize("activate", [True, False])
def test_normed_linear_is_linear_norm_and_mish(activate: bool) -> None:
    layer = NormedLinear(4, 6, activate=activate)
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.layer_norm(
        nn.functional.linear(x, layer.linear.weight, layer.linear.bias), (6,)
    )
    expected = nn.functional.mish(expected) if activate else expected
    torch.testing.assert_close(layer(x), expected)


def test_values_of_chosen_heads_and_of_all_agree_in_a_model() -> None:
    model = tiny_model(trained=True)
    z, action = torch.full((4, 2, 16), 0.25), torch.full((4, 2, 2), 0.5)
    heads = torch.tensor([1, 2])
    torch.testing.assert_close(
        model.values(z, action, heads), model.values(z, action)[heads], atol=1e-5, rtol=1e-5
    )
