"""Products of stacked layers: the layers asked for, in the precision asked for."""

import copy

import pytest
import torch

from tests.doubles import random_batch, tiny_model
from wmrobot.core.random import make_generator
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.model.world_model import WorldModel
from wmrobot.nn.products import linear, stacked_linear
from wmrobot.nn.stacked import Linear, StackedLinear

WEIGHT, BIAS = torch.randn(4, 6, 5), torch.randn(4, 1, 5)
HEADS = torch.tensor([3, 1])


@pytest.mark.parametrize("shape", [(7, 6), (2, 7, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chosen_layers_are_multiplied_without_copies(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x, weight = torch.randn(shape).to(dtype), WEIGHT.to(dtype)
    result = torch.ops.wmrobot.chosen_products(x, weight, HEADS)
    torch.testing.assert_close(result, torch.matmul(x, weight[HEADS]))


def test_bf16_rounds_both_factors_and_nothing_else() -> None:
    x, weight, bias = torch.randn(7, 6), WEIGHT[0].T.contiguous(), BIAS[0, 0]
    rounded = x.bfloat16().float() @ weight.bfloat16().float().T + bias
    result = linear(x, weight, bias, "bf16")
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, rounded, rtol=1e-2, atol=2e-2)
    assert not torch.equal(result, linear(x, weight, bias))
    stacked = stacked_linear(x, WEIGHT, BIAS, HEADS, "bf16")
    torch.testing.assert_close(stacked, stacked_linear(x, WEIGHT, BIAS, HEADS), rtol=0.05, atol=0.1)


def set_precision(model: WorldModel) -> WorldModel:
    """The same model, multiplying in bf16."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Linear | StackedLinear):
            module.precision = "bf16"
    return model


def test_an_update_in_bf16_is_nearly_the_same() -> None:
    model, batch = tiny_model(trained=True, episodic=True), random_batch()
    losses = {}
    for name, own in {"fp32": copy.deepcopy(model), "bf16": set_precision(model)}.items():
        learner = Learner(own, LearnerConfig(batch_size=4), make_generator(0, "learner"))
        losses[name] = learner.update(batch)["total_loss"]
        assert all(p.dtype == torch.float32 for p in own.parameters())
        assert learner.weights_finite()
    torch.testing.assert_close(losses["bf16"], losses["fp32"], rtol=0.02, atol=0)
    assert not torch.equal(losses["bf16"], losses["fp32"])
