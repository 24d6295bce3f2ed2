"""Weights & Biases, by a stand-in: one run there for one run here, however often it is resumed."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.runs import play, tiny
from wmrobot.app.training.logs import WANDB_FILE, Logs
from wmrobot.core.config import to_plain
from wmrobot.core.errors import CheckpointError, MissingExtraError
from wmrobot.core.files import read_json


@dataclass
class Board:
    """Stands in for the package and for its run: remembers what it was told."""

    started: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    finished: int = 0

    def init(self, **options: Any) -> "Board":
        self.started.append(options)
        return self

    def log(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    board = Board()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=board.init))
    return board


def test_resumed_run_goes_on_with_its_own(tmp_path: Path, board: Board) -> None:
    cfg, run = tiny(steps=30, log_freq=10, eval_freq=0, wandb="arms"), tmp_path / "first"
    assert not play(cfg, run, stop=20)
    assert play(cfg, run)
    first, second = board.started
    assert first == second
    assert first == {
        "project": "arms",
        "dir": str(run),
        "name": "first",
        "id": read_json(run / WANDB_FILE)["id"],
        "resume": "allow",
        "config": to_plain(cfg),
    }
    losses = [row["step"] for row in board.rows if "train/total_loss" in row]
    assert losses == [40, 60]  # a decision of `cart` is 2 environment steps
    assert [row["eval/decisions"] for row in board.rows if "eval/decisions" in row] == [30]
    assert board.finished == 2


def test_another_run_is_another_there(tmp_path: Path, board: Board) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Logs(tmp_path / name, "arms").close()
    one, other = board.started
    assert one["id"] != other["id"]


def test_id_that_is_none_is_refused(tmp_path: Path, board: Board) -> None:
    file = tmp_path / WANDB_FILE
    file.write_text("[]")
    with pytest.raises(CheckpointError) as caught:
        Logs(tmp_path, "arms")
    assert str(caught.value) == (
        f"{file}: expected an object with the id of a run on Weights & Biases, got something else; "
        "delete it to begin a new one there"
    )
    assert board.started == []


def test_package_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError) as caught:
        Logs(tmp_path, "arms")
    assert str(caught.value) == (
        'wandb is not installed; install it with: pip install ".[wandb]" in its checkout'
    )


def test_nothing_is_kept_where_it_is_not_asked_for(tmp_path: Path, board: Board) -> None:
    Logs(tmp_path).close()
    assert board.started == []
    assert not (tmp_path / WANDB_FILE).exists()
