"""A glance at a run changes nothing of it, and reaches TensorBoard at every evaluation."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.runs import assert_same, opened, play, silent, tiny
from wmrobot.app.training.glance import glance


def test_a_glance_changes_nothing_and_repeats_itself(tmp_path: Path) -> None:
    cfg = tiny(steps=24, eval_freq=0, save_freq=0)
    with opened(cfg, tmp_path) as trainer:
        nothing = glance(trainer.model, trainer.replay, trainer.controller, 1, trainer.device)
        assert nothing == {}
        assert trainer.loop(silent)
        before = trainer.learner.state(), trainer.controller.state(), trainer.collector.state()
        figures = [
            glance(trainer.model, trainer.replay, trainer.controller, 1, trainer.device)
            for _ in range(2)
        ]
        after = trainer.learner.state(), trainer.controller.state(), trainer.collector.state()
        assert_same(list(before), list(after))
    assert figures[0] == figures[1]
    assert set(figures[0]) == {
        "latent_rank", "replay_age", "plan_std", "elite_spread", "elites_clipped",
        "candidates_nan", *(f"latent_error_{h}" for h in (1, 2, 3)),
        *(f"reward_error_{h}" for h in (1, 2, 3)),
    }  # fmt: skip
    assert 0 < figures[0]["latent_rank"] <= cfg.model.latent_dim


def test_every_evaluation_is_looked_at(tmp_path: Path) -> None:
    assert play(tiny(), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = events.Scalars("diagnostics/latent_error_1")
    assert [point.step for point in points] == [60, 120]
    ages = [point.value for point in events.Scalars("diagnostics/replay_age")]
    assert 0 < ages[0] < ages[1]  # nothing was overwritten: it grows
