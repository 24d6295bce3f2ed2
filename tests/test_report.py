"""The report of a run: one page, complete, with figures that agree with the run's own."""

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runs import CART, REACH, TASKS, play, tiny
from tests.test_html_page import Page
from tests.tiny import make_card
from wmrobot.app.cli import main
from wmrobot.app.controllers import find_controller, make_model
from wmrobot.app.reporting import diagnosis_page
from wmrobot.app.reporting.diagnosis import diagnose, encode_episode, watch
from wmrobot.app.train import RUN_FILE
from wmrobot.core.config import to_plain
from wmrobot.core.files import write_json


@pytest.mark.slow
def test_a_run_is_told_in_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, cfg = tmp_path / "first", tiny()
    assert play(cfg, run)
    made = {"machine": "abacus", "commit": None}
    write_json(run / RUN_FILE, {"schema": 1, "settings": to_plain(cfg), "made": made})
    words = [f"run={run}", "episodes=2", "horizon=3", "threads=1"]
    assert main(["report", *words]) == 0
    assert capsys.readouterr().out == f"look at it: {run / 'report.html'}\n"
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import|<script", text)
    film = run / f"film-{find_controller(task=None, run=str(run)).name}.mp4"
    assert film.read_bytes()[4:8] == b"ftyp"
    assert base64.b64encode(film.read_bytes()).decode() in text
    titles = page.texts
    for title in (
        "In short", "How it learned", "Film", "What planning is worth", "How far it sees ahead",
        "Values against returns", "The search", "The latent", "Replay", "Where it was trained",
    ):  # fmt: skip
        assert title in titles
    assert "rail" in titles  # the cart's only joint is probed
    assert "candidates that were not finite, of the last iteration" in titles


@pytest.mark.slow
def test_a_task_file_may_have_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = tmp_path / "old", tmp_path / "first"
    shutil.copytree(TASKS.parent, folder)
    cfg = tiny(f"{folder}/tiny.py:cart", steps=20, eval_freq=0)
    assert play(cfg, run)
    made = {"machine": "abacus", "commit": None}
    write_json(run / RUN_FILE, {"schema": 1, "settings": to_plain(cfg), "made": made})
    folder.rename(tmp_path / "new")
    words = [f"run={run}", "episodes=2", "horizon=1", "film=none", "threads=1"]
    assert main(["report", *words]) == 2
    assert "found no such file" in capsys.readouterr().err
    assert main(["report", f"{tmp_path}/new/tiny.py:opaque", *words]) == 2
    assert "expected a controller of" in capsys.readouterr().err
    assert main(["report", f"{tmp_path}/new/tiny.py:cart", *words]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"{tmp_path}/new/tiny.py:cart" in page
    assert "Nothing to compare" in page  # of episodes of 5 decisions
    assert "+nan" not in page


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"run={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: expected a run to report on, found no {RUN_FILE}\n"
    )
    (tmp_path / RUN_FILE).touch()
    assert main(["report", f"run={tmp_path}", "film=lost.mp4"]) == 2
    assert capsys.readouterr().err == (
        "error: film: expected an MP4, found no such file: lost.mp4\n"
    )
    assert main(["report", f"run={tmp_path}", "horizon=0"]) == 2
    assert capsys.readouterr().err == "error: horizon: expected at least 1, got 0\n"


def test_watching_changes_nothing() -> None:
    """A watched planner drives as one in an evaluation does."""
    card = make_card(CART)
    torch.manual_seed(0)
    model = make_model(card, torch.device("cpu")).eval()
    watched = watch(model, card, "zero", episodes=2, seed=3)
    again = watch(model, card, "zero", episodes=2, seed=3)
    returns = [[e.reward for e in each.rollout.episodes] for each in (watched, again)]
    assert returns[0] == returns[1]
    assert watched.joints == ("rail",)
    for row, episode in enumerate(watched.rollout.recorded):
        told = [positions[row, 0] for positions in watched.positions[: len(episode.action)]]
        seen = episode.obs["state"][:-1]
        column = np.abs(seen - np.array(told)[:, None]).max(axis=0).argmin()
        np.testing.assert_allclose(seen[:, column], told, atol=1e-5)  # the observation has qpos
    z = encode_episode(model, card, watched.rollout.recorded[0])
    assert z.shape == (6, card.model.latent_dim)


def test_a_task_without_joints_has_no_probe() -> None:
    card = make_card(REACH)
    torch.manual_seed(0)
    found = diagnose(
        make_model(card, torch.device("cpu")).eval(), card, episodes=2, horizon=2, seed=0
    )
    assert found.probe == {}
    assert found.open_loop.latent.shape == (2,)
    assert set(found.agents) == {"trained", "prior", "shuffled", "zero"}


def test_values_below_zero_are_drawn_and_losses_of_nothing_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[list[str], bool]] = []

    def note(curves: Any, *, y_label: str, log: bool) -> bytes:
        drawn.append(([curve.label for curve in curves], log))
        return b""

    monkeypatch.setattr(diagnosis_page, "curve_png", note)
    rows = {
        "decisions": np.array([1.0, 2.0]),
        "reward_loss": np.array([np.nan, 0.5]),
        "termination_loss": np.zeros(2),
        "value_mean": np.array([-3.0, -2.0]),
        "value_scale": np.full(2, np.nan),
    }
    captions = [caption for caption, _ in diagnosis_page.loss_pictures(rows)]
    assert captions == ["losses, unweighted", "values of the prior"]
    assert drawn == [(["reward_loss"], True), (["value_mean"], False)]
