"""A prior that imitates the planner: its loss, the plans that the replay keeps, and re-planning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles import random_batch, tiny_model
from tests.runs import CART, assert_same, end_of, opened, play, tiny
from tests.test_replay import World
from wmrobot.app.controllers import make_controller
from wmrobot.app.training.replanning import Replanner
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_generator
from wmrobot.data.plans import PlannedAction
from wmrobot.data.replay import Replay
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.learn.losses import prior_fit

IMITATE = LearnerConfig(batch_size=4, lr=1e-2, prior_from="plan", replan_size=4)


def test_fit_is_minus_the_divergence_between_two_densities() -> None:
    """By torch's own distributions: a Gaussian, and a Gaussian squashed by tanh."""
    model, generator = tiny_model(trained=True), make_generator(0, "fit")
    learner = Learner(model, IMITATE, generator)
    batch = random_batch()
    zs = torch.rand(3, 4, 16, generator=generator)
    plan = PlannedAction(0.5 * batch.action, torch.full_like(batch.action, 0.3))
    noise = learner.draw_noise(batch)
    sample, fit = prior_fit(model, zs, plan, noise)
    mean, log_std = model.prior_moments(zs)
    before = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(
        before, [torch.distributions.TanhTransform(cache_size=1)]
    )
    action = torch.tanh(mean + log_std.exp() * noise.prior[:3])
    torch.testing.assert_close(sample.action, action)
    wanted = torch.distributions.Normal(*plan).log_prob(action) - squashed.log_prob(action)
    torch.testing.assert_close(fit, wanted.sum(dim=-1), rtol=1e-4, atol=1e-4)


def test_prior_becomes_the_plan_that_it_imitates() -> None:
    """Plans that are the same everywhere have one best prior: their mean and spread."""
    model, generator = tiny_model(trained=True), make_generator(0, "learner")
    learner = Learner(model, IMITATE, generator)
    batch = random_batch()
    zs = torch.rand(4, 4, 16, generator=generator)
    mean, std = torch.tensor([0.4, -0.5]), torch.tensor([0.1, 0.2])
    batch = batch._replace(plan=PlannedAction(mean.expand(3, 4, 2), std.expand(3, 4, 2)))
    for _ in range(800):
        learner._update_prior(zs, batch, learner.draw_noise(batch))
    eps = torch.randn(4000, 1, 2, generator=generator)
    with torch.no_grad():
        drawn = model.propose(zs[0, :1].expand(4000, 1, 16), eps)[:, 0]
    torch.testing.assert_close(drawn.mean(dim=0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.std(dim=0), std, rtol=0.25, atol=0)


def test_what_was_never_planned_teaches_nothing() -> None:
    model = tiny_model(trained=True)
    learner = Learner(model, IMITATE, make_generator(0, "learner"))
    batch = random_batch()
    zs = torch.rand(4, 4, 16, generator=make_generator(0, "zs"))
    noise = learner.draw_noise(batch)
    nothing = PlannedAction(torch.zeros_like(batch.action), torch.zeros_like(batch.action))
    metrics = learner._update_prior(zs, batch._replace(plan=nothing), noise)
    assert float(metrics["prior_loss"]) == 0
    assert float(metrics["prior_grad_norm"]) == 0

    std = nothing.std.clone()
    std[1, 2] = 0.3
    losses = []
    for wrong in (0.0, 0.7):  # of a plan that is not known
        mean = torch.full_like(std, wrong)
        mean[1, 2] = 0.1
        plan = PlannedAction(mean, std)
        learner = Learner(tiny_model(trained=True), IMITATE, make_generator(0, "learner"))
        metrics = learner._update_prior(zs, batch._replace(plan=plan), noise)
        losses.append(float(metrics["prior_loss"]))
    assert losses[0] == losses[1] != 0


def keeping(num_envs: int, capacity: int) -> Replay:
    return Replay(
        obs_shapes={"state": (3,)},
        action_dim=1,
        num_envs=num_envs,
        capacity=capacity,
        horizon=3,
        keep_plans=True,
    )


def test_plans_stay_with_their_decisions_until_they_are_overwritten() -> None:
    """Every other decision was planned, with its own number as the mean; rings go round."""
    lengths = [7, 5]
    replay, world = keeping(2, 40), World(lengths, pictures=False)
    replay.start(world.obs())
    for k in range(150):
        action, step = world.step()
        mean = torch.from_numpy(action)
        plan = PlannedAction(mean, torch.full_like(mean, 0.25)) if k % 2 else None
        replay.add(action, step, plan)
    rows, columns = replay.draw(np.random.default_rng(0), 500)
    batch = replay.gather(rows, columns)
    assert batch.plan is not None
    happened, known = batch.mask.bool(), batch.plan.known
    assert 0.4 < known[happened].float().mean() < 0.6
    assert batch.plan.mean[known & happened].equal(batch.action[known & happened])
    assert not batch.plan.std[~known].any()

    replay.replan(rows[:5], columns[:5], PlannedAction(torch.full((5, 1), 9.0), torch.ones(5, 1)))
    again = replay.gather(rows, columns)
    assert again.plan is not None
    changed = again.plan.mean != batch.plan.mean
    place = torch.from_numpy(np.stack([rows, columns], axis=1))
    replanned = (place[:, None] == place[None, :5]).all(dim=2).any(dim=1)
    assert again.plan.mean[0, replanned].eq(9).all()
    assert not changed[0, ~replanned].any()


def test_a_replay_without_plans_keeps_none_and_asks_for_no_memory() -> None:
    plain = Replay(obs_shapes={"state": (3,)}, action_dim=1, num_envs=2, capacity=40, horizon=3)
    assert plain.num_bytes < keeping(2, 40).num_bytes
    world = World([7, 5], pictures=False)
    plain.start(world.obs())
    for _ in range(10):
        plain.add(*world.step(), None)
    assert plain.sample(np.random.default_rng(0), 4).plan is None


def imitating(**words: object) -> TrainConfig:
    learner = {"batch_size": 8, "prior_from": "plan", "replan_every": 3, "replan_size": 4}
    return tiny(CART, num_envs=2, steps=48, learner=learner, **words)


def test_old_decisions_are_planned_again_as_the_planner_would(tmp_path: Path) -> None:
    """A re-planned decision has what a fresh controller plans there, with the same noise."""
    cfg = imitating(eval_freq=0)
    assert play(cfg, tmp_path / "run")
    with opened(cfg, tmp_path / "run") as trainer:
        rows, columns = trainer.replay.draw(np.random.default_rng(0), 8)
        batch = trainer.replay.gather(rows, columns)
        planning = make_controller(trainer.model, trainer.card, make_generator(5, "replanner"))
        Replanner(planning, trainer.replay, 4).replan(rows, columns, batch)
        controller = trainer.controller
        controller.reset()
        controller.generator = make_generator(5, "replanner")
        controller.act({"state": batch.obs["state"][0, :4].numpy()})
        again = trainer.replay.gather(rows, columns)
        assert again.plan is not None
        torch.testing.assert_close(again.plan.mean[0, :4], controller.plan.mean[:, 0])
        torch.testing.assert_close(again.plan.std[0, :4], controller.plan.std[:, 0])


def test_a_decision_that_a_batch_has_twice_is_planned_once(tmp_path: Path) -> None:
    assert play(imitating(eval_freq=0), tmp_path / "run")
    with opened(imitating(eval_freq=0), tmp_path / "run") as trainer:
        rows, columns = trainer.replay.draw(np.random.default_rng(0), 8)
        rows[1], columns[1] = rows[0], columns[0]
        batch = trainer.replay.gather(rows, columns)
        planning = make_controller(trainer.model, trainer.card, make_generator(5, "replanner"))
        Replanner(planning, trainer.replay, 4).replan(rows, columns, batch)
        planning.generator = make_generator(5, "replanner")
        plan = planning.plan_afresh({"state": batch.obs["state"][0, :4]})
        again = trainer.replay.gather(rows, columns).plan
        assert again is not None
        torch.testing.assert_close(again.mean[0, :2], plan.mean[[0, 0], 0])


def test_random_decisions_come_to_be_planned(tmp_path: Path) -> None:
    cfg = imitating(eval_freq=0)
    assert play(cfg, tmp_path / "run")
    with opened(cfg, tmp_path / "run") as trainer:
        assert trainer.replay.plans is not None
        std = trainer.replay.plans.state()[:, :, 1, 0]
        planned = (std > 0).sum(axis=0)
        decided = (cfg.steps - cfg.seed_steps) // cfg.num_envs
        assert (planned >= decided).all()
        assert planned.sum() > decided * cfg.num_envs  # some of the random ones too


@pytest.mark.slow
def test_broken_run_that_imitates_ends_as_the_whole_one(tmp_path: Path) -> None:
    cfg, run = imitating(eval_freq=0), tmp_path / "broken"
    assert not play(cfg, run, stop=16)
    assert not play(cfg, run, die=31)
    assert not play(cfg, run, stop=37)
    assert play(cfg, run)
    assert play(cfg, tmp_path / "whole")
    assert_same(end_of(cfg, run), end_of(cfg, tmp_path / "whole"))


def test_more_plans_than_a_batch_has_are_refused() -> None:
    expected = "replan_size: expected at most batch_size=8, got 20"
    with pytest.raises(ConfigError, match=expected):
        LearnerConfig(batch_size=8, prior_from="plan")
    assert LearnerConfig(batch_size=8).replan_size == 20  # of no use, and in no way
