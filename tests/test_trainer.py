"""The training loop: what is done when, how often, and on what data."""

import json
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runs import (
    CART,
    COUNTER,
    assert_same,
    calls,
    end_of,
    opened,
    play,
    silent,
    tiny,
)
from wmrobot.app.controllers import checkpoint_folders
from wmrobot.app.rollout import evaluate
from wmrobot.app.train import run as run_verb
from wmrobot.app.train import train
from wmrobot.app.training.audience import Audience
from wmrobot.app.training.recorded import spread
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.errors import TrainingError
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.encoder import PictureEncoder


class Listener(Audience):
    """One who remembers what a run was doing."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def beat(self, doing: str) -> None:
        self.told.append(doing)

    def during(self, doing: str) -> AbstractContextManager[None]:
        self.told.append(doing)
        return nullcontext()

    def look(self, env: VectorEnv) -> None:
        self.told.append("evaluating")


def test_window_hears_of_every_update_of_the_pretraining(tmp_path: Path) -> None:
    with opened(tiny(steps=16, seed_steps=15, pretrain_updates=7), tmp_path) as trainer:
        trainer._audience = listener = Listener()
        trainer.loop(silent)
    told = [doing for doing, _ in groupby(listener.told)]
    assert told[:3] == ["random decisions 1/15", "random decisions 2/15", "random decisions 3/15"]
    begin = told.index("pretraining 0/7")
    assert told[begin : begin + 7] == [f"pretraining {update}/7" for update in range(7)]
    assert {"evaluating", "measuring the model"} < set(told)
    assert told[-1] == "driving and learning 16/16"


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"updates_per_decision": 1.0}, 10 + 30),
        ({"updates_per_decision": 1.0, "pretrain_updates": 3}, 3 + 30),
        ({"updates_per_decision": 1.0, "pretrain_updates": 0}, 30),
        ({"updates_per_decision": 0.25}, 10 + 7),
        ({"updates_per_decision": 2.5}, 10 + 75),
        ({"updates_per_decision": 1.0, "num_envs": 3}, 10 + 30),  # random until 12, then 10 x 3
        ({"updates_per_decision": 1.0, "seed_steps": 0}, 39),  # the first asks for the pretraining
        ({"seed_steps": 4, "num_envs": 4, "pretrain_updates": 5}, 5 + 25),  # 0.7 x 36, once it has
        ({"updates_per_decision": 1.0, "seed_steps": 100}, 0),
    ],
)
def test_number_of_updates(
    changes: dict[str, Any], updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny(**{"steps": 40, "seed_steps": 10, "eval_freq": 0, "save_freq": 0, **changes})
    with opened(cfg, tmp_path) as trainer:
        monkeypatch.setattr(trainer, "_evaluate", lambda: True)
        monkeypatch.setattr(trainer.learner, "update", lambda batch: {})
        assert trainer.loop(silent)
        assert trainer.counters.updates == updates
        assert trainer.counters.decisions == trainer.counters.settled
        assert trainer.counters.decisions == (42 if cfg.num_envs == 3 else 40)


def test_order_of_deciding_and_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The updates that a decision asks for are made while the next one is under way."""
    cfg = tiny(steps=12, seed_steps=6, pretrain_updates=2, updates_per_decision=1.0, eval_freq=0)
    events: list[tuple[str, int]] = []
    with opened(cfg, tmp_path) as trainer:
        monkeypatch.setattr(trainer, "_evaluate", lambda: True)
        act, update = trainer.controller.act, trainer.learner.update

        def planned(*args: Any, **options: Any) -> Any:
            events.append(("plan", trainer.counters.updates))
            return act(*args, **options)

        def learned(batch: Any) -> Any:
            lived = int(trainer.replay.heads[0]) - trainer.counters.episodes - 1
            events.append(("learn", lived))
            return update(batch)

        monkeypatch.setattr(trainer.controller, "act", planned)
        monkeypatch.setattr(trainer.learner, "update", learned)
        trainer.loop(silent)
    expected = [("learn", 6), ("learn", 6)]
    expected += [("plan", 2)]
    for decision in range(7, 12):
        expected += [("plan", 2 + decision - 7), ("learn", decision)]
    expected += [("learn", 12)]
    assert events == expected


def test_who_explores_and_what_an_ended_episode_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny(num_envs=3, greedy_envs=1, steps=60, seed_steps=6, eval_freq=0)
    explored: list[list[bool]] = []
    forgotten: list[int] = []
    with opened(cfg, tmp_path) as trainer:
        monkeypatch.setattr(trainer, "_evaluate", lambda: True)
        act, reset = trainer.controller.act, trainer.controller.reset

        def acted(obs: Any, *, explore: Any) -> Any:
            explored.append(explore.tolist())
            return act(obs, explore=explore)

        def forgot(rows: Any = None) -> None:
            forgotten.extend(rows.tolist())
            reset(rows)

        monkeypatch.setattr(trainer.controller, "act", acted)
        monkeypatch.setattr(trainer.controller, "reset", forgot)
        trainer.loop(silent)
        episodes = trainer.counters.episodes
    assert explored == [[False, True, True]] * 18  # 54 of the 60 decisions are planned
    assert len(forgotten) == episodes > 0  # plans do not reach into the next episode


@pytest.mark.slow
def test_same_seed_same_run_another_seed_another(tmp_path: Path) -> None:
    cfg = tiny(steps=20, eval_freq=0)
    for name, each in {"a": cfg, "b": cfg, "c": replace(cfg, seed=2)}.items():
        assert play(each, tmp_path / name)
    one, other, third = (
        end_of(each, tmp_path / name)
        for name, each in {"a": cfg, "b": cfg, "c": replace(cfg, seed=2)}.items()
    )
    assert_same(one, other)
    assert one["eval.csv"] != third["eval.csv"]


@pytest.mark.slow
def test_evaluating_and_saving_change_nothing(tmp_path: Path) -> None:
    often = tiny(steps=24, eval_freq=4, save_freq=3)
    seldom = replace(often, eval_freq=0, save_freq=0)
    ends = []
    for name, cfg in {"often": often, "seldom": seldom}.items():
        assert play(cfg, tmp_path / name)
        end = end_of(cfg, tmp_path / name)
        ends.append({key: value for key, value in end.items() if key != "eval.csv"})
    assert_same(*ends)
    rows = (tmp_path / "often" / "eval.csv").read_text().splitlines()
    assert len(rows) == 1 + 6
    assert (tmp_path / "seldom" / "eval.csv").read_text().splitlines() == [rows[0], rows[-1]]


def test_evaluation_repeats(tmp_path: Path) -> None:
    with opened(tiny(), tmp_path) as trainer:
        first, second = (
            evaluate(trainer.model, trainer.card, episodes=3, seed=5, record=True) for _ in "ab"
        )
    assert first.episodes == second.episodes
    assert len({episode.reward for episode in first.episodes}) == 3  # environments of their own
    for one, other, told in zip(first.recorded, second.recorded, first.episodes, strict=True):
        assert_same(one.obs, other.obs)
        assert one.action.shape == (5, 1)
        assert one.reward.sum() == pytest.approx(told.reward)


def test_stopped_evaluation_leaves_out_what_has_not_ended(tmp_path: Path) -> None:
    with opened(tiny(COUNTER), tmp_path) as trainer:
        asked = iter([False] * 4 + [True])
        rollout = evaluate(
            trainer.model, trainer.card, episodes=4, seed=1, agent="random", record=True,
            stop=lambda: next(asked),
        )  # fmt: skip
    assert len(rollout.act_ms) == 4
    assert len(rollout.episodes) == len(rollout.recorded)
    for result, episode in zip(rollout.episodes, rollout.recorded, strict=True):
        assert result.length == len(episode.action) <= 4
        assert result.terminated
        assert episode.terminated
        assert episode.reward.sum() == pytest.approx(result.reward)


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path) -> None:
    here = tiny(num_envs=3, steps=24, eval_freq=0)
    there = replace(here, workers=2)
    ends = []
    for name, cfg in {"here": here, "there": there}.items():
        assert not play(cfg, tmp_path / name, stop=17)
        assert play(cfg, tmp_path / name)
        ends.append(end_of(cfg, tmp_path / name))
    assert_same(*ends)


@pytest.mark.parametrize(("task", "num_envs"), [(CART, 1), (CART, 3), (COUNTER, 1), (COUNTER, 3)])
def test_replay_holds_the_whole_run(task: str, num_envs: int, tmp_path: Path) -> None:
    cfg = tiny(task, num_envs=num_envs, steps=400, seed_steps=400, pretrain_updates=0, save_freq=0)
    with opened(cfg, tmp_path) as trainer:
        trainer._evaluate = lambda: True  # type: ignore[method-assign]
        trainer.loop(silent)
        replay, counters = trainer.replay, trainer.counters
        assert replay.oldest.tolist() == [0] * num_envs
        assert replay.heads.sum() == counters.decisions + counters.episodes + num_envs


def test_replay_of_the_smallest_size_goes_round(tmp_path: Path) -> None:
    cfg = tiny(num_envs=2, replay={"buffer_size": 1}, eval_freq=0)
    assert play(cfg, tmp_path)
    with opened(cfg, tmp_path) as trainer:
        assert trainer.replay.num_rows < 20
        assert trainer.replay.num_samples > 0


def test_learning_rate_falls_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = {"batch_size": 8, "lr": 1.0e-3, "lr_final_scale": 0.1, "lr_decay_fraction": 0.5}
    cfg = tiny(learner=learner, steps=20, seed_steps=5, updates_per_decision=1.0, eval_freq=0)
    seen = []
    with opened(cfg, tmp_path) as trainer:
        monkeypatch.setattr(trainer, "_evaluate", lambda: True)
        update = trainer.learner.update

        def spied(batch: Any) -> Any:
            seen.append(trainer.learner.optimizer.param_groups[1]["lr"])
            return update(batch)

        monkeypatch.setattr(trainer.learner, "update", spied)
        trainer.loop(silent)
    assert seen[0] == 1e-3
    assert seen[-1] == pytest.approx(1e-4)
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("when", ["plan", "evaluate", "log", "save"])
def test_weights_that_are_not_finite_end_the_run_and_are_not_saved(
    when: str, tmp_path: Path
) -> None:
    pace = {"plan": {}, "evaluate": {"eval_freq": 22}, "log": {"log_freq": 22},
            "save": {"save_freq": 22}}[when]  # fmt: skip
    changes: dict[str, Any] = {"eval_freq": 0, "log_freq": 100, "save_freq": 20, **pace}
    cfg = tiny(updates_per_decision=1.0, **changes)
    saved = [] if when == "save" else [tmp_path / "checkpoints" / "000000020"]
    with opened(cfg, tmp_path) as trainer:
        poison_at = 15 + 6  # made while decision 22 is under way

        def poison() -> None:
            for parameter in trainer.model.parameters():
                parameter.data.fill_(math.nan)

        trainer.learner.update = calls(trainer.learner.update, poison_at, poison)  # type: ignore[method-assign]
        with pytest.raises(TrainingError) as caught:
            trainer.loop(silent)
        updates = trainer.counters.updates
    assert checkpoint_folders(tmp_path) == saved
    cure = (
        f"The last good checkpoint is {saved[0]}; start a new run with init={tmp_path} and"
        if saved
        else "No checkpoint was saved yet; start a new run with"
    )
    assert str(caught.value) == (
        f"losses or weights are not finite after {updates} updates; consistency_loss was the "
        f"first to break, in update {poison_at}. {cure} a learner.lr below 0.0003"
    )
    if saved:
        with opened(cfg, tmp_path) as trainer:
            assert trainer.counters.decisions == 20
            assert trainer.learner.weights_finite()


def test_need_of_memory_is_told_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = replace(tiny(steps=20, eval_freq=0), run=str(tmp_path / "run"))
    assert run_verb(cfg) == 0
    out, err = capsys.readouterr()
    assert out == (
        f"done: {tmp_path / 'run'}\nevaluate it with: wmrobot evaluate run={tmp_path / 'run'}\n"
    )
    lines = err.splitlines()
    assert lines[0] == f"{CART} (state) -> {tmp_path / 'run'}"
    assert lines[1].endswith("M parameters on cpu, 1 threads; replay 0.0 MB on host")


def test_summary_tells_what_the_run_came_to(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(replace(tiny(steps=20, eval_freq=0), run=str(run))) == (True, run)
    summary = json.loads((run / "summary.json").read_text())
    last = float((run / "eval.csv").read_text().splitlines()[-1].split(",")[1])
    assert (summary["decisions"], summary["episodes"], summary["last_evaluation"]) == (20, 4, last)
    assert summary["updates"] == 15 + int(5 * 0.7)
    assert summary["made"]["seed"] == 1


@pytest.mark.parametrize(
    ("lengths", "num_envs", "rings", "most"),
    [
        ([5, 5, 5, 5], 2, [0, 1, 0, 1], 12),
        ([9, 1, 1, 1], 2, [0, 1, 1, 1], 10),
        ([3], 4, [0], 4),
    ],
)
def test_recorded_episodes_go_to_the_emptiest_ring(
    lengths: list[int], num_envs: int, rings: list[int], most: int
) -> None:
    dealt = list(spread(lengths, num_envs))
    assert [ring for ring, _ in dealt] == rings
    assert max(rows for _, rows in dealt) == most


def test_random_decisions_cover_the_actions(tmp_path: Path) -> None:
    cfg = tiny(steps=300, seed_steps=300, pretrain_updates=0, save_freq=0, eval_freq=0)
    with opened(cfg, tmp_path) as trainer:
        trainer._evaluate = lambda: True  # type: ignore[method-assign]
        trainer.loop(silent)
        action = trainer.replay.sample(np.random.default_rng(0), 2000).action
    assert torch.quantile(action, 0.05).item() == pytest.approx(-0.9, abs=0.06)
    assert torch.quantile(action, 0.95).item() == pytest.approx(0.9, abs=0.06)


@pytest.mark.slow
def test_encoder_looks_at_pictures_once_before_the_first_update(tmp_path: Path) -> None:
    def look(cfg: TrainConfig, run: Path) -> PictureEncoder:
        with opened(cfg, run) as trainer:
            part = trainer.model.encoder.parts["rgb"]
        assert isinstance(part, PictureEncoder)
        return part

    cfg = tiny(CART, obs="rgb", cameras=[-1], steps=36, eval_freq=0)
    assert not play(cfg, tmp_path / "run", stop=12)  # among the random decisions
    assert look(cfg, tmp_path / "run").spread == 255
    assert not play(cfg, tmp_path / "run", stop=20)
    seen = look(cfg, tmp_path / "run")
    assert 1 <= seen.spread < 255
    assert not seen.mean.eq(128).all()
    assert play(cfg, tmp_path / "run")
    later = look(cfg, tmp_path / "run")
    assert later.mean.equal(seen.mean)
    assert later.spread.equal(seen.spread)

    other = replace(cfg, seed=2, init=str(tmp_path / "run"))
    assert play(other, tmp_path / "other")
    assert look(other, tmp_path / "other").mean.equal(seen.mean)
