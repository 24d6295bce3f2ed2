"""One update: what moves, how far, and that it can be broken off anywhere."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.doubles import TINY, random_batch, tiny_model
from wmrobot.core.random import make_generator
from wmrobot.core.trees import load_tree, save_tree
from wmrobot.data.batch import Batch
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.model.config import ModelConfig
from wmrobot.model.world_model import WorldModel

CFG = LearnerConfig(batch_size=4, lr=1e-3)


def make_learner(
    model: WorldModel | None = None, cfg: LearnerConfig = CFG, *, trained: bool = True
) -> Learner:
    model = model or tiny_model(trained=trained, episodic=True)
    return Learner(model, cfg, make_generator(0, "learner"))


def weights(learner: Learner) -> dict[str, Tensor]:
    both = {"model": learner.model, "target": learner.target_values}
    return {
        f"{name}.{key}": value.clone()
        for name, module in both.items()
        for key, value in module.state_dict().items()
    }


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not before[name].equal(after[name])}


def test_an_update_moves_every_weight() -> None:
    learner = make_learner()
    before = weights(learner)
    learner.update(random_batch())
    assert moved(before, weights(learner)) == set(before)
    assert all(p.grad is None for p in learner.model.parameters())
    assert learner.weights_finite()


def test_target_heads_follow_by_tau() -> None:
    learner = make_learner(cfg=LearnerConfig(batch_size=4, tau=0.25))
    with torch.no_grad():
        for parameter in learner.target_values.parameters():
            parameter.add_(1.0)
    before = copy.deepcopy(learner.target_values.state_dict())
    learner.update(random_batch())
    for name, value in learner.model.values.state_dict().items():
        expected = 0.75 * before[name] + 0.25 * value
        torch.testing.assert_close(learner.target_values.state_dict()[name], expected)


def test_target_heads_start_as_copies() -> None:
    learner = make_learner()
    for a, b in zip(
        learner.target_values.parameters(), learner.model.values.parameters(), strict=True
    ):
        assert a.equal(b)
        assert a.data_ptr() != b.data_ptr()


def test_the_priors_update_leaves_everything_else_alone() -> None:
    learner = make_learner()
    batch = random_batch()
    noise = learner.draw_noise(batch)
    zs = torch.rand(4, 4, 16, generator=make_generator(0, "zs"))
    before = weights(learner)
    learner._update_prior(zs, batch, noise)
    changed = moved(before, weights(learner))
    assert changed
    assert all(name.startswith("model.prior.") for name in changed)
    assert all(p.requires_grad and p.grad is None for p in learner.model.values.parameters())


def test_scale_is_a_running_range_of_percentiles() -> None:
    learner = make_learner(cfg=LearnerConfig(batch_size=40, tau=0.1))
    with torch.no_grad():  # values that differ by more than 1
        learner.model.values.head.weight.mul_(10)
    batch = random_batch(size=40)
    noise = learner.draw_noise(batch)._replace(prior_dropout=None)
    zs = torch.rand(4, 40, 16, generator=make_generator(0, "zs"))
    model = learner.model
    value = model.value(zs[0], model.propose(zs[0], noise.prior[0]), noise.prior_heads)
    low, high = np.percentile(value.detach().numpy().astype(np.float64), [5, 95])
    assert high - low > 1
    learner._update_prior(zs, batch, noise)
    assert learner.scale.item() == pytest.approx(0.9 + 0.1 * (high - low), rel=1e-4)


def test_scale_is_never_less_than_one() -> None:
    learner = make_learner(trained=False)  # all values 0
    learner.update(random_batch())
    assert learner.scale.item() == 1


def test_encoder_learns_slower() -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    learner = make_learner(cfg=LearnerConfig(batch_size=4, lr=1e-3, enc_lr_scale=0.3))
    before = weights(learner)
    learner.update(random_batch())
    after = weights(learner)
    for name, value in before.items():
        if not name.startswith("target"):
            step = (after[name] - value).abs().max().item()
            expected = 3e-4 if name.startswith("model.encoder") else 1e-3
            assert step == pytest.approx(expected, rel=0.02), name


def test_learning_rates_follow_the_progress() -> None:
    cfg = LearnerConfig(lr=1e-3, enc_lr_scale=0.5, lr_final_scale=0.1, lr_decay_fraction=0.5)
    learner = make_learner(cfg=cfg)

    def rates() -> list[float]:
        groups = [*learner.optimizer.param_groups, *learner.prior_optimizer.param_groups]
        return [group["lr"] for group in groups]

    for progress, scale in [(0.2, 1.0), (1.0, 0.1), (0.75, 0.55), (0.0, 1.0)]:
        learner.set_progress(progress)
        assert rates() == pytest.approx([5e-4 * scale, 1e-3 * scale, 1e-3 * scale])


def test_gradients_are_clipped() -> None:
    batch = random_batch()
    free, clipped = make_learner(), make_learner(cfg=LearnerConfig(lr=1e-3, grad_clip_norm=1e-9))
    norm = free.update(batch)["grad_norm"]
    assert clipped.update(batch)["grad_norm"].equal(norm)  # told before clipping
    for optimizer in (clipped.optimizer, clipped.prior_optimizer):
        state = optimizer.state_dict()["state"]
        first = sum(float(entry["exp_avg"].square().sum()) for entry in state.values())
        assert first**0.5 == pytest.approx(0.1 * 1e-9, rel=1e-3)  # Adam's mean after one step


def test_heads_and_dropout_are_drawn_anew() -> None:
    learner = make_learner()
    drawn = [learner.draw_noise(random_batch()) for _ in range(60)]
    for name in ("target_heads", "prior_heads"):
        pairs = [tuple(getattr(noise, name).tolist()) for noise in drawn]
        assert all(a != b for a, b in pairs)
        assert len(set(pairs)) == 6  # ordered pairs of 3
    kept = torch.stack([noise.dropout for noise in drawn if noise.dropout is not None])
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    share = (kept > 0).float().mean().item()
    assert share == pytest.approx(0.9, abs=5 * 0.3 / kept.numel() ** 0.5)
    assert drawn[0].dropout is not None
    assert drawn[0].dropout.shape == (3, 3 * 4, 16)
    assert drawn[0].prior_dropout is not None
    assert drawn[0].prior_dropout.shape == (2, 4 * 4, 16)


def test_without_dropout_none_is_drawn() -> None:
    cfg = ModelConfig(latent_dim=16, mlp_dim=16, enc_dim=16, num_q=2, num_bins=11, dropout=0.0)
    noise = make_learner(tiny_model(cfg=cfg)).draw_noise(random_batch())
    assert noise.dropout is None
    assert noise.prior_dropout is None


def test_every_picture_of_every_sample_is_shifted_on_its_own() -> None:
    shapes = {"rgb": (3, 64, 64), "state": (5,)}
    model = tiny_model(obs_shapes=shapes)
    learner = make_learner(model)
    batch = random_batch(horizon=2, size=50, obs_shapes=shapes, frame_stack=TINY.frame_stack)
    shift = learner.draw_noise(batch).shift
    assert set(shift) == {"rgb"}
    assert shift["rgb"].shape == (3, 50, 2)
    assert shift["rgb"].unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_pictures_stay_where_they_are_without_a_shift() -> None:
    shapes = {"rgb": (3, 64, 64)}
    learner = make_learner(tiny_model(obs_shapes=shapes), LearnerConfig(batch_size=4, max_shift=0))
    batch = random_batch(horizon=1, size=2, obs_shapes=shapes, frame_stack=TINY.frame_stack)
    assert learner.draw_noise(batch).shift == {}
    assert learner.update(batch)["total_loss"].isfinite()


@pytest.mark.parametrize("names", [["rgb"], ["state", "rgb"]])
def test_pictures_are_learned_from(names: list[str]) -> None:
    shapes = {name: {"rgb": (3, 64, 64), "state": (5,)}[name] for name in names}
    learner = make_learner(tiny_model(obs_shapes=shapes, trained=True))
    before = weights(learner)
    batch = random_batch(horizon=1, size=2, obs_shapes=shapes, frame_stack=TINY.frame_stack)
    metrics = learner.update(batch)
    assert all(value.isfinite() for value in metrics.values())
    unmoved = set(before) - moved(before, weights(learner))
    assert unmoved == {f"model.encoder.parts.rgb.{name}" for name in ("mean", "spread")}


@pytest.mark.parametrize("names", [["rgb"], ["state", "rgb"]])
def test_pictures_move_weights_as_a_plain_adam_does(names: list[str]) -> None:
    """A fused kernel takes no heed of strides, and convolutions return gradients with their own."""
    shapes = {name: {"rgb": (3, 64, 64), "state": (5,)}[name] for name in names}
    batch = random_batch(horizon=1, size=2, obs_shapes=shapes, frame_stack=TINY.frame_stack)
    found = []
    for fused in (True, False):
        learner = make_learner(tiny_model(obs_shapes=shapes, trained=True))
        for optimizer in (learner.optimizer, learner.prior_optimizer):
            for group in optimizer.param_groups:
                group["fused"] = fused
        learner.update(batch)
        found.append(weights(learner))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-6)


def test_weights_that_are_no_numbers_are_told() -> None:
    learner = make_learner()
    batch = random_batch()
    batch.reward[0, 0] = float("nan")
    learner.update(batch)  # must not crash: the trainer refuses to go on
    assert not learner.weights_finite()
    learner.update(random_batch())


def test_goes_on_bit_for_bit_from_a_saved_state(tmp_path: Path) -> None:
    learner = make_learner()
    for seed in range(3):
        learner.update(random_batch(seed=seed))
    state = learner.state()
    model_state = copy.deepcopy(learner.model.state_dict())
    save_tree(tmp_path, "learner", state)
    stored = weights(learner)

    def go_on(learner: Learner) -> tuple[dict[str, Tensor], list[Tensor]]:
        metrics = [learner.update(random_batch(seed=seed)) for seed in range(3, 7)]
        return weights(learner), [value for each in metrics for value in each.values()]

    expected, metrics = go_on(learner)
    assert moved(stored, expected)
    for source in (state, load_tree(tmp_path, "learner")):  # neither was touched by going on
        again = make_learner(trained=False)
        again.model.load_state_dict(model_state)
        again.load_state(source)
        found, found_metrics = go_on(again)
        assert not moved(expected, found)
        assert all(a.equal(b) for a, b in zip(metrics, found_metrics, strict=True))


def linear_system(draw: np.random.Generator, size: int, horizon: int = 3) -> Batch:
    """z' = z rotated and pushed by the action; the reward is how near its first entry is to 0.5."""
    state = draw.uniform(-1, 1, (size, 2))
    obs, action, reward = [state], [], []
    for _ in range(horizon):
        push = draw.uniform(-1, 1, (size, 1))
        state = 0.9 * state @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + 0.3 * push
        obs.append(state)
        action.append(push)
        reward.append(1 - np.abs(state[:, 0] - 0.5))

    def stack(values: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values).astype(np.float32))

    return Batch(
        obs={"state": stack(obs)},
        action=stack(action),
        reward=stack(reward),
        terminated=torch.zeros(horizon, size),
        mask=torch.ones(horizon, size),
    )


@pytest.mark.slow
def test_learns_a_linear_system() -> None:
    """Rewards of three imagined decisions, on trajectories never seen."""
    torch.manual_seed(0)
    cfg = ModelConfig(
        latent_dim=32, mlp_dim=32, enc_dim=32, simnorm_dim=4, num_q=2, num_bins=41, vmin=-3, vmax=3,
        dropout=0.0,
    )  # fmt: skip
    model = WorldModel(cfg, obs_shapes={"state": (2,)}, action_dim=1, discount=0.9, episodic=False)
    learner = make_learner(model, LearnerConfig(lr=3e-3))
    draw = np.random.default_rng(0)
    unseen = linear_system(np.random.default_rng(1), 500)

    def reward_error() -> float:
        with torch.no_grad():
            z = model.encode({"state": unseen.obs["state"][0]})
            errors = []
            for t in range(3):
                z, reward, _ = model.step(z, unseen.action[t])
                errors.append((reward - unseen.reward[t]).square())
        return float(torch.stack(errors).mean().sqrt())

    spread = float(unseen.reward.std())
    assert reward_error() > spread  # it starts at 0, not even at the mean
    for _ in range(600):
        learner.update(linear_system(draw, 64))
    assert reward_error() < 0.15 * spread
