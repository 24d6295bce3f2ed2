"""Tasks that end before their time: from the environment into replay, model and reports."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import CART, COUNTER, REACH, opened, play, silent, tiny
from wmrobot.app.rollout import evaluate


@pytest.mark.parametrize("task", [COUNTER, REACH])
def test_termination_flows_into_replay(task: str, tmp_path: Path) -> None:
    """The counter terminates beyond 10 and is truncated after 6 steps: both happen."""
    cfg = tiny(task, num_envs=2, steps=120, seed_steps=120, pretrain_updates=0, save_freq=0)
    with opened(cfg, tmp_path) as trainer:
        assert trainer.card.task.episodic
        trainer._evaluate = lambda: True  # type: ignore[method-assign]
        trainer.loop(silent)
        batch = trainer.replay.sample(np.random.default_rng(0), 4000)
    number = batch.obs["state"][..., 0 if task == COUNTER else 1].numpy()
    step = batch.obs["state"][..., 2 if task == COUNTER else 0].numpy()
    happened, terminated = batch.mask.numpy() > 0, batch.terminated.numpy() > 0
    np.testing.assert_array_equal(terminated[happened], (number[1:] > 10)[happened])
    assert terminated[happened].any()
    truncated = (step[1:] == 6) & (number[1:] <= 10) & happened
    assert truncated.any()
    assert not terminated[truncated].any()
    ended = terminated[:-1] & happened[:-1]
    assert not happened[1:][ended].any()  # nothing comes after


@pytest.mark.slow
@pytest.mark.parametrize("task", [COUNTER, REACH])
def test_termination_is_learned_and_reported(task: str, tmp_path: Path) -> None:
    cfg = tiny(
        task, num_envs=4, steps=600, seed_steps=400, pretrain_updates=800, eval_freq=0,
        updates_per_decision=1.0, learner={"batch_size": 64, "lr": 3.0e-3}, save_freq=0,
    )  # fmt: skip
    assert play(cfg, tmp_path)
    with opened(cfg, tmp_path) as trainer:
        model = trainer.model.eval()
        batch = trainer.replay.sample(np.random.default_rng(0), 4000)
        with torch.no_grad():
            z = model.encode({name: value[0] for name, value in batch.obs.items()})
            next_z, _, goes_on = model.step(z, batch.action[0])
            assert model.termination_logit(next_z).shape == (4000,)
        terminated = batch.terminated[0] > 0
        assert 0.05 < terminated.float().mean() < 0.95
        recall = (goes_on[terminated] == 0).float().mean()
        false_alarms = (goes_on[~terminated] == 0).float().mean()
        assert recall > 0.7
        assert false_alarms < 0.15
        rollout = evaluate(model, trainer.card, episodes=8, seed=3, agent="random")
        assert 0 < rollout.termination_rate < 1
        for episode in rollout.episodes:
            if episode.terminated:  # the number, which starts at 0 to 0.5, is beyond 10
                assert episode.reward > 9.5
            else:
                assert (episode.length, episode.reward <= 10) == (6, True)


def test_task_that_cannot_terminate_has_no_such_head(tmp_path: Path) -> None:
    with opened(tiny(CART), tmp_path) as trainer:
        assert not trainer.card.task.episodic
        assert trainer.model.termination is None


@pytest.mark.parametrize("task", [COUNTER, REACH])
def test_episodic_run_writes_its_rows(task: str, tmp_path: Path) -> None:
    assert play(tiny(task, steps=40), tmp_path)
    header, *rows = (tmp_path / "train.csv").read_text().splitlines()
    column = header.split(",").index("termination_loss")
    assert float(rows[-1].split(",")[column]) > 0
    assert len((tmp_path / "eval.csv").read_text().splitlines()) == 3
