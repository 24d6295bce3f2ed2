"""The state, told from latents while learning from pictures: the head, its loss, and whole runs."""

import csv
from pathlib import Path

import pytest
import torch

from tests.doubles import random_batch, tiny_model
from tests.runs import CART, assert_same, end_of, opened, play, tiny
from wmrobot.app.controllers import checkpoint_folders, read_controller
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.errors import ConfigError
from wmrobot.core.random import make_generator
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.learn.losses import model_losses
from wmrobot.learn.state_head import StateHead

TELL = LearnerConfig(batch_size=4, lr=1e-2, state_coef=2.0)


def told(**changes: object) -> TrainConfig:
    """A tiny run from pictures, whose training sees the state."""
    learner = {"batch_size": 8, "state_coef": 1.0}
    cfg = tiny(CART, obs="rgb", cameras=[-1], steps=36, eval_freq=0, learner=learner)
    return TrainConfig(**{**vars(cfg), **changes})


def test_error_is_hubers_in_standard_deviations() -> None:
    head = StateHead(4, 2)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    head.standardise(torch.tensor([[[1.0, 5.0]], [[3.0, 5.0]]]))  # the second never moves
    torch.testing.assert_close(head.mean, torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(head.std, torch.tensor([2.0**0.5, 0.01]))
    state = torch.tensor([[2.0 + 0.5 * 2**0.5, 5.0], [2.0, 5.03]])
    error = head(torch.zeros(2, 4), state)
    torch.testing.assert_close(error, torch.tensor([0.5 * 0.5**2, 3 - 0.5]) / 2, rtol=1e-4, atol=0)


def test_every_latent_of_the_rollout_is_asked() -> None:
    model, generator = tiny_model(trained=True), make_generator(0, "learner")
    learner = Learner(model, TELL, generator, state_dim=5)
    batch = random_batch()
    batch.mask[1:, 2] = 0  # an episode ends after its first decision
    noise, head = learner.draw_noise(batch), learner.state_head
    assert head is not None
    given = model, learner.target_values, batch, noise, TELL
    plain, asked = model_losses(*given), model_losses(*given, head)
    assert plain.state == 0
    expected = 0.0
    for b in range(4):
        for t in range(4):
            counts = t == 0 or bool(batch.mask[t - 1, b])
            error = head(asked.zs[t, b], batch.obs["state"][t, b])
            expected += counts * 0.5**t * error.item() / (4 + 3 * 4 - 2)
    assert asked.state.item() == pytest.approx(expected, rel=1e-4)
    assert (asked.total - plain.total).item() == pytest.approx(2 * expected, rel=1e-4)


def test_latents_learn_to_tell_and_a_restored_learner_goes_on() -> None:
    batch = random_batch()
    learners = []
    for _ in range(2):
        model = tiny_model(trained=True)
        learners.append(Learner(model, TELL, make_generator(0, "learner"), state_dim=5))
        learners[-1].look(batch.obs, pictures=False)
    first, other = learners
    begun = float(first.update(batch)["state_loss"])
    for _ in range(200):
        ended = float(first.update(batch)["state_loss"])
    assert ended < 0.2 * begun
    other.model.load_state_dict(first.model.state_dict())
    other.load_state(first.state())
    assert_same(other.state(), first.state())
    one, two = first.update(batch), other.update(batch)
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.slow
def test_controller_sees_pictures_alone(tmp_path: Path) -> None:
    cfg = told()
    assert play(cfg, tmp_path)
    with opened(cfg, tmp_path) as trainer:
        assert set(trainer.env.task_spec.obs_shapes) == {"state", "rgb"}
        head = trainer.learner.state_head
        assert head is not None
        assert not head.std.eq(1).any()  # it looked
    model, card = read_controller(checkpoint_folders(tmp_path)[-1], torch.device("cpu"))
    assert (card.obs, set(card.task.obs_shapes)) == ("rgb", {"rgb"})
    assert set(model.encoder.parts) == {"rgb"}
    with (tmp_path / "train.csv").open(newline="") as file:
        losses = [float(row["state_loss"] or "nan") for row in csv.DictReader(file)]
    assert losses[-1] > 0


@pytest.mark.slow
def test_broken_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    cfg, run = told(), tmp_path / "broken"
    assert not play(cfg, run, die=13)
    assert not play(cfg, run, stop=21)
    assert play(cfg, run)
    assert play(cfg, tmp_path / "whole")
    assert_same(end_of(cfg, run), end_of(cfg, tmp_path / "whole"))


@pytest.mark.slow
def test_weights_from_elsewhere_keep_their_pictures_and_the_head_looks(tmp_path: Path) -> None:
    assert play(told(), tmp_path / "first")
    second = told(init=str(tmp_path / "first"), seed=2)
    assert play(second, tmp_path / "second")
    means = []
    for run in ("first", "second"):
        model, _ = read_controller(checkpoint_folders(tmp_path / run)[-1], torch.device("cpu"))
        means.append(model.encoder.parts["rgb"].mean)
    assert means[0].equal(means[1])
    with opened(second, tmp_path / "second") as trainer:
        assert trainer.learner.state_head is not None
        assert not trainer.learner.state_head.std.eq(1).any()


@pytest.mark.parametrize("obs", ["state", "state+rgb"])
def test_state_that_is_seen_needs_no_telling(obs: str) -> None:
    with pytest.raises(ConfigError, match=r"^learner\.state_coef: expected obs=rgb .*got obs="):
        tiny(CART, obs=obs, learner={"state_coef": 1.0})


def test_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"state_coef: expected at least 0, got -1"):
        LearnerConfig(state_coef=-1)
