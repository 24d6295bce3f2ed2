"""Losses against hand-made numbers, and against what must not influence them."""

import math

import pytest
import torch
from torch import Tensor

from tests.doubles import random_batch, tiny_model
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_generator
from wmrobot.data.batch import Batch
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.learn.losses import (
    UpdateNoise,
    latent_mask,
    model_losses,
    prior_loss,
    prior_values,
    step_weights,
    td_target,
)
from wmrobot.model.world_model import PriorSample, WorldModel

CFG = LearnerConfig(batch_size=4)


def setup(*, episodic: bool = False) -> tuple[WorldModel, Learner, Batch, UpdateNoise]:
    model = tiny_model(trained=True, episodic=episodic)
    learner = Learner(model, CFG, make_generator(0, "learner"))
    with torch.no_grad():
        for parameter in learner.target_values.parameters():
            parameter.mul_(0.9)
    batch = random_batch()
    return model, learner, batch, learner.draw_noise(batch)


def cut(batch: Batch, decisions: int, *, terminated: bool = True) -> Batch:
    """Row 1's episode ends after so many decisions, the rest padded as the replay pads it."""
    mask, ends = batch.mask.clone(), batch.terminated.clone()
    mask[decisions:, 1] = 0
    ends[decisions - 1, 1] = float(terminated)
    obs = {name: value.clone() for name, value in batch.obs.items()}
    for value in obs.values():
        value[decisions:, 1] = value[decisions, 1]
    return batch._replace(mask=mask, terminated=ends, obs=obs)


def test_td_target_by_hand() -> None:
    model, learner, batch, noise = setup()
    batch.terminated[2, 1] = 1
    next_z = model.encode({"state": batch.obs["state"][1:]})
    found = td_target(model, learner.target_values, next_z, batch, noise, 0.0)
    for t in range(3):
        for b in range(4):
            action = model.propose(next_z[t, b], noise.target[t, b])
            logits = learner.target_values(next_z[t, b], action)
            values = model.two_hot.decode(logits)[noise.target_heads]
            expected = batch.reward[t, b] + 0.9 * min(values.tolist())
            if (t, b) == (2, 1):
                expected = batch.reward[t, b]
            torch.testing.assert_close(found[t, b], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("td_lambda", [0.0, 0.6, 1.0])
def test_lambda_return_is_its_definition_by_rewards_ahead(td_lambda: float) -> None:
    """Weighted n-step returns from the rewards themselves; sample 1 ends after 2 decisions."""
    model, learner, batch, noise = setup()
    batch = cut(batch, 2, terminated=False)
    next_z = model.encode({"state": batch.obs["state"][1:]})
    one_step = td_target(model, learner.target_values, next_z, batch, noise, 0.0)
    value = (one_step - batch.reward) / 0.9
    found = td_target(model, learner.target_values, next_z, batch, noise, td_lambda)
    for b, length in ((0, 3), (1, 2)):
        for t in range(length):
            n_steps = [
                sum(0.9**k * batch.reward[t + k, b] for k in range(n))
                + 0.9**n * value[t + n - 1, b]
                for n in range(1, length - t + 1)
            ]
            weights = [(1 - td_lambda) * td_lambda ** (n - 1) for n in range(1, length - t)]
            weights.append(td_lambda ** (length - t - 1))
            expected = sum(w * g for w, g in zip(weights, n_steps, strict=True))
            torch.testing.assert_close(found[t, b], expected, rtol=1e-4, atol=1e-4)


def test_losses_by_hand() -> None:
    """The definitions with plain loops: one decision, one sample, one head at a time."""
    model, learner, batch, noise = setup()
    losses = model_losses(model, learner.target_values, batch, noise, CFG)
    next_z = model.encode({"state": batch.obs["state"][1:]})
    target = td_target(model, learner.target_values, next_z, batch, noise, 0.0)
    assert noise.dropout is not None
    dropout = noise.dropout.unflatten(1, (3, 4))
    consistency, reward, value = 0.0, 0.0, 0.0
    for b in range(4):
        z = model.encode({"state": batch.obs["state"][0, b]})
        for t in range(3):
            weight = 0.5**t / (3 * 4)
            action = batch.action[t, b]
            logits = model.values(z, action, dropout_mask=dropout[:, t, b : b + 1])
            for head in range(3):
                value += weight * model.two_hot.loss(logits[head], target[t, b]).item() / 3
            z, reward_logits = model.predict(z, action)
            reward += weight * model.two_hot.loss(reward_logits, batch.reward[t, b]).item()
            consistency += weight * (z - next_z[t, b]).square().mean().item()
    assert losses.consistency.item() == pytest.approx(consistency, rel=1e-4)
    assert losses.reward.item() == pytest.approx(reward, rel=1e-4)
    assert losses.value.item() == pytest.approx(value, rel=1e-4)
    assert losses.termination.item() == 0
    total = 20 * consistency + 0.1 * reward + 0.1 * value
    assert losses.total.item() == pytest.approx(total, rel=1e-4)


def test_step_weights_by_hand() -> None:
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    expected = torch.tensor([[1.0, 1.0], [0.5, 0.0], [0.25, 0.0]]) / 4
    torch.testing.assert_close(step_weights(0.5, mask), expected)
    torch.testing.assert_close(step_weights(1.0, mask), mask / 4)


@pytest.mark.parametrize("episodic", [False, True])
def test_padding_after_an_end_has_no_influence(*, episodic: bool) -> None:
    model, learner, batch, noise = setup(episodic=episodic)
    batch = cut(batch, 2)
    padding = batch.mask == 0
    other = batch._replace(
        action=batch.action.where(~padding.unsqueeze(-1), 0.77),
        reward=batch.reward.where(~padding, 123.0),
        terminated=batch.terminated.where(~padding, 1.0),
        obs={"state": batch.obs["state"].clone()},
    )
    other.obs["state"][3, 1] = -3.3
    gradients = []
    for each in (batch, other):
        losses = model_losses(model, learner.target_values, each, noise, CFG)
        sample, value = prior_values(model, losses.zs, noise)
        mask = latent_mask(each.mask)
        loss = losses.total + prior_loss(sample, value, mask, learner.scale, CFG)
        gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
        scalars = torch.stack([*losses[:-1], loss]).detach()
        if each is batch:
            first = scalars
    assert scalars.equal(first)
    for a, b in zip(*gradients, strict=True):
        assert (a is None and b is None) or a.equal(b)


def test_termination_is_learned_at_every_decision_that_happened() -> None:
    model, learner, batch, noise = setup(episodic=True)
    batch = cut(batch, 2)
    losses = model_losses(model, learner.target_values, batch, noise, CFG)
    total, count = 0.0, 0
    for t in range(3):
        for b in range(4):
            if batch.mask[t, b]:
                logit = model.termination_logit(losses.zs[t + 1, b])
                p = logit.sigmoid().item()
                ended = (t, b) == (1, 1)
                total -= math.log(p if ended else 1 - p)
                count += 1
    assert count == 11
    assert losses.termination.item() == pytest.approx(total / count, rel=1e-3)
    rest = 20 * losses.consistency + 0.1 * losses.reward + 0.1 * losses.value
    torch.testing.assert_close(losses.total, rest + losses.termination)


def test_an_end_by_time_keeps_the_value_of_what_follows() -> None:
    model, learner, batch, noise = setup()
    next_z = model.encode({"state": batch.obs["state"][1:]})
    ended, cut_off = (
        td_target(model, learner.target_values, next_z, cut(batch, 2, terminated=over), noise, 0.95)
        for over in (True, False)
    )
    assert ended[1, 1] == batch.reward[1, 1]
    assert cut_off[1, 1] != batch.reward[1, 1]


def test_targets_carry_no_gradient() -> None:
    model, learner, batch, noise = setup()
    losses = model_losses(model, learner.target_values, batch, noise, CFG)
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in learner.target_values.parameters())
    assert all(p.grad is None for p in model.prior.parameters())
    assert not losses.zs.requires_grad
    trained = [*model.encoder.parameters(), *model.values.parameters()]
    assert all(p.grad is not None and p.grad.any() for p in trained)


def test_consistency_pulls_the_rollout_alone() -> None:
    """What is predicted moves towards what was seen, not the other way: latents would collapse."""
    model, learner, batch, noise = setup()
    seen = batch.obs["state"].clone().requires_grad_()
    batch = batch._replace(obs={"state": seen})
    losses = model_losses(model, learner.target_values, batch, noise, CFG)
    losses.consistency.backward()  # type: ignore[no-untyped-call]
    assert seen.grad is not None
    assert seen.grad[0].any()
    assert not seen.grad[1:].any()


def test_prior_loss_by_hand() -> None:
    log_prob = torch.tensor([[-1.0, 2.0], [0.5, 0.25]])
    value = torch.tensor([[4.0, 8.0], [2.0, 6.0]])
    cfg = LearnerConfig(entropy_coef=0.1)
    sample = PriorSample(torch.zeros(2, 2, 3), log_prob)
    mask = latent_mask(torch.tensor([[1.0, 0.0]]))
    found = prior_loss(sample, value, mask, torch.tensor(2.0), cfg)
    # z_0 of both rows and z_1 of the first happened
    expected = -((2 + 0.1) + (4 - 0.2) + 0.5 * (1 - 0.05)) / 3
    assert found.item() == pytest.approx(expected)


def test_prior_values_are_the_mean_of_two_heads() -> None:
    model, _, _, noise = setup()
    noise = noise._replace(prior_dropout=None)
    zs = torch.rand(4, 4, 16, generator=make_generator(0, "zs"))
    sample, value = prior_values(model, zs, noise)
    expected = model.value(zs, model.propose(zs, noise.prior), noise.prior_heads)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(sample.action, model.propose(zs, noise.prior))


def test_prior_climbs_the_value() -> None:
    """A step along the gradient of its loss raises the value of its actions."""
    model, learner, _, noise = setup()
    noise = noise._replace(prior_dropout=None)
    zs = torch.rand(4, 4, 16, generator=make_generator(0, "zs"))
    before = prior_values(model, zs, noise)[1].mean()
    optimizer = torch.optim.SGD(model.prior.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        sample, value = prior_values(model, zs, noise)
        prior_loss(sample, value, torch.ones(4, 4), learner.scale, CFG).backward()
        optimizer.step()
    assert prior_values(model, zs, noise)[1].mean() > before


def test_entropy_pays_for_spread() -> None:
    """Without a value to climb, the loss is least for wide priors."""
    model = tiny_model(trained=True)
    zs = torch.rand(2, 4, 16, generator=make_generator(0, "zs"))
    eps = torch.randn(2, 4, 2, generator=make_generator(0, "eps"))

    def loss_with_log_std(raw: float) -> Tensor:
        with torch.no_grad():
            model.prior[-1].weight.zero_()
            model.prior[-1].bias.copy_(torch.tensor([0.0, 0.0, raw, raw]))
        sample = model.sample_prior(zs, eps)
        return prior_loss(sample, torch.zeros(2, 4), torch.ones(2, 4), torch.tensor(1.0), CFG)

    assert loss_with_log_std(0.6) < loss_with_log_std(0.0) < loss_with_log_std(-0.6)


def test_discount_follows_the_episode() -> None:
    assert LearnerConfig().discount(500) == pytest.approx(0.99)
    assert LearnerConfig().discount(10) == 0.95
    assert LearnerConfig().discount(100_000) == 0.995


def test_learning_rate_falls_over_the_last_part_of_the_run() -> None:
    cfg = LearnerConfig(lr_final_scale=0.2, lr_decay_fraction=0.5)
    scales = [cfg.lr_scale(progress) for progress in (0.0, 0.5, 0.75, 1.0, 1.5)]
    assert scales == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])
    assert LearnerConfig().lr_scale(1.0) == 1.0
    assert LearnerConfig(lr_final_scale=0.2, lr_decay_fraction=0.0).lr_scale(1.0) == 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"lr": 0.0}, "lr: expected more than 0, got 0.0"),
        ({"rho": 1.5}, "rho: expected 0 to 1, got 1.5"),
        ({"value_coef": -1.0}, "value_coef: expected at least 0, got -1.0"),
        (
            {"discount_max": 1.0},
            "discount_min, discount_max: expected 0 <= discount_min <= discount_max < 1, "
            "got 0.95 and 1.0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        LearnerConfig(**values)  # type: ignore[arg-type]
    assert str(error.value) == message
