"""The live line of a training."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runs import opened, tiny
from wmrobot.app.training import bar as module
from wmrobot.app.training.bar import Bar


def test_pretraining_is_told_while_no_decision_is_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = iter(range(0, 10**6, 60))  # a minute from one look at it to the next
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    cfg = tiny(pretrain_updates=30, seed_steps=10, eval_freq=0)
    with opened(cfg, tmp_path / "run") as trainer:
        bar = Bar(trainer)
        assert trainer.loop(bar, bar.learning)
        bar.close()
    said = capsys.readouterr().err
    assert "pretraining 0/30" in said
    assert "pretraining 29/30" in said
