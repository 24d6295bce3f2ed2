"""The learned model: sizes, first weights, and every method against its definition."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from tests.doubles import TINY, tiny_model
from wmrobot.app.config import load
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.errors import ConfigError
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel
from wmrobot.nn.stacked import INIT_STD


def walker(cfg: ModelConfig, *, episodic: bool = False) -> WorldModel:
    return WorldModel(
        cfg, obs_shapes={"state": (24,)}, action_dim=6, discount=0.99, episodic=episodic
    )


def profile(name: str) -> ModelConfig:
    return load(TrainConfig, ["task=walker-run", f"profile={name}"]).model


def latents(*lead: int) -> Tensor:
    return torch.rand(*lead, 16, generator=torch.Generator().manual_seed(0))


def actions(*lead: int) -> Tensor:
    return torch.rand(*lead, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def mlp_size(*widths: int) -> int:
    """Weights of linear layers, each but the last layer-normed."""
    pairs = list(pairwise(widths))
    return sum(a * b + b for a, b in pairs) + sum(2 * b for _, b in pairs[:-1])


@pytest.mark.parametrize(
    ("name", "enc", "mlp", "z", "hidden"),
    [("base", 256, 512, 512, 1), ("large", 1024, 1024, 768, 2)],
)
def test_profiles_are_as_large_as_tdmpc2(
    name: str, enc: int, mlp: int, z: int, hidden: int
) -> None:
    """Counted by hand from TD-MPC2's tables of its 5M and 19M models, for walker."""
    obs, act, bins, heads = 24, 6, 101, 5
    expected = (
        mlp_size(obs, *[enc] * hidden, z) + 2 * z  # the latent is layer-normed too
        + mlp_size(z + act, mlp, mlp, z) + 2 * z
        + mlp_size(z + act, mlp, mlp, bins)
        + heads * mlp_size(z + act, mlp, mlp, bins)
        + mlp_size(z, mlp, mlp, 2 * act)
    )  # fmt: skip
    model = walker(profile(name))
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "low", "high"), [("nano", 1e5, 3e5), ("small", 0.7e6, 1.3e6), ("base", 4.5e6, 5.5e6)]
)
def test_profiles_have_the_size_that_they_are_said_to_have(
    name: str, low: float, high: float
) -> None:
    assert low <= sum(p.numel() for p in walker(profile(name)).parameters()) <= high


def test_first_weights_are_tdmpc2s_value_ensemble_included() -> None:
    torch.manual_seed(0)
    model = walker(ModelConfig(latent_dim=64, mlp_dim=64, enc_dim=64, num_bins=31), episodic=True)
    zero = {"reward_head.weight", "values.head.weight"}
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or name in zero:
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        else:
            wrong = abs(parameter.std().item() / INIT_STD - 1)
            assert wrong < 5 / math.sqrt(2 * parameter.numel()), name


def test_rewards_and_values_start_at_zero() -> None:
    model = tiny_model()
    _, reward, _ = model.step(latents(5), actions(5))
    value = model.value(latents(5), actions(5), torch.tensor([0, 1]))
    torch.testing.assert_close(reward, torch.zeros(5), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(value, torch.zeros(5), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0, 3)])
@pytest.mark.parametrize("episodic", [False, True])
def test_methods_work_over_any_leading_axes(lead: tuple[int, ...], *, episodic: bool) -> None:
    model = tiny_model(trained=True, episodic=episodic)
    z, action = latents(*lead), actions(*lead)
    next_z, reward, continuation = model.step(z, action)
    assert next_z.shape == z.shape
    value = model.value(z, action, torch.tensor([0, 2]))
    assert reward.shape == continuation.shape == value.shape == lead
    assert model.propose(z, action).shape == action.shape
    if lead == (2, 3):
        alone = model.step(z[1, 2], action[1, 2])
        torch.testing.assert_close(next_z[1, 2], alone[0])
        torch.testing.assert_close(reward[1, 2], alone[1])


def test_imagined_latents_are_simplices() -> None:
    z, _, _ = tiny_model(trained=True).step(latents(6), actions(6))
    groups = z.unflatten(-1, (-1, TINY.simnorm_dim))
    torch.testing.assert_close(groups.sum(dim=-1), torch.ones(6, 4))


def test_value_is_the_mean_of_the_chosen_heads() -> None:
    model = tiny_model(trained=True)
    each = model.two_hot.decode(model.values(latents(4), actions(4)))
    assert each.shape == (3, 4)
    found = model.value(latents(4), actions(4), torch.tensor([2, 0]))
    torch.testing.assert_close(found, (each[0] + each[2]) / 2, rtol=1e-4, atol=1e-4)


def test_an_endless_task_goes_on_with_the_discount() -> None:
    model = tiny_model()
    assert model.termination is None
    assert (model.step(latents(3), actions(3))[2] == torch.tensor(0.9)).all()


def test_continuation_is_zero_where_termination_is_likelier_than_not() -> None:
    model = tiny_model(trained=True, episodic=True)
    z, action = latents(200), actions(200)
    next_z, _, _ = model.step(z, action)
    assert model.termination is not None
    with torch.no_grad():
        model.termination[-1].bias -= model.termination_logit(next_z).median()
    _, _, continuation = model.step(z, action)
    likely = model.termination_logit(next_z).sigmoid() > 0.5
    assert 0 < likely.sum() < 200
    torch.testing.assert_close(continuation, torch.where(likely, 0.0, 0.9))


def test_density_of_the_prior_is_that_of_a_squashed_gaussian() -> None:
    model = tiny_model(trained=True).double()
    z = latents(50).double()
    eps = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mean, log_std = model.prior_moments(z)
    normal = Independent(Normal(mean, log_std.exp()), 1)
    squashed = TransformedDistribution(normal, [TanhTransform(cache_size=1)])
    before = mean + eps * log_std.exp()
    sample = model.sample_prior(z, eps)
    fits = (before.abs() < 8).all(dim=1)  # beyond it tanh is 1 and torch's inverse gives up
    assert fits.sum() > 20
    torch.testing.assert_close(sample.action, before.tanh())
    expected = squashed.log_prob(sample.action)
    torch.testing.assert_close(sample.log_prob[fits], expected[fits], rtol=1e-5, atol=1e-5)


def test_density_stays_finite_where_tanh_saturates() -> None:
    model = tiny_model(trained=True)
    sample = model.sample_prior(latents(3), torch.full((3, 2), 50.0))
    assert sample.log_prob.isfinite().all()
    assert (sample.action.abs() <= 1).all()


def test_spread_of_the_prior_stays_within_its_bounds() -> None:
    model = tiny_model(trained=True)
    with torch.no_grad():
        model.prior[-1].bias += torch.tensor([0.0, 0.0, 50.0, -50.0])
    log_std = model.prior_moments(latents(4))[1]
    torch.testing.assert_close(log_std[:, 0], torch.full((4,), TINY.log_std_max))
    torch.testing.assert_close(log_std[:, 1], torch.full((4,), TINY.log_std_min))


def test_proposals_are_the_samples_of_the_prior() -> None:
    model = tiny_model(trained=True)
    z, eps = latents(4), 3 * actions(4)
    torch.testing.assert_close(model.propose(z, eps), model.sample_prior(z, eps).action)


def test_pictures_are_stacked_before_they_are_encoded() -> None:
    model = tiny_model(obs_shapes={"rgb": (3, 64, 64), "state": (5,)})
    stacked = torch.zeros(2, 3 * TINY.frame_stack, 64, 64, dtype=torch.uint8)
    assert model.encode({"rgb": stacked, "state": torch.zeros(2, 5)}).shape == (2, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: expected at least 1, got 0"),
        (
            {"latent_dim": 60},
            "simnorm_dim: expected a divisor of latent_dim=60, got 8",
        ),
        ({"num_q": 1}, "num_q: expected at least 2 (targets take 2 heads), got 1"),
        ({"dropout": 1.0}, "dropout: expected 0 <= dropout < 1, got 1.0"),
        (
            {"num_bins": 1},
            "num_bins, vmin, vmax: expected at least 2 bins and vmin < vmax, got 1, -10.0, 10.0",
        ),
        ({"log_std_min": 2.0}, "log_std_min: expected less than log_std_max=2.0, got 2.0"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig(**values)  # type: ignore[arg-type]
    assert str(error.value) == message
