"""Recorded episodes that cannot be learned from end a run before it begins, in one line."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.runs import CART, words
from tests.tiny import make_card
from wmrobot.app.cli import main
from wmrobot.data.episodes import FORMAT, Episode, write_episode


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    """An episode of a cart, on disk."""
    path = tmp_path / "episodes" / "a.safetensors"
    lived = Episode(
        obs={"state": np.zeros((5, 3), dtype=np.float32)},
        action=np.zeros((4, 1), dtype=np.float32),
        reward=np.zeros(4, dtype=np.float32),
        terminated=False,
    )
    write_episode(path, lived, make_card(CART).task)
    return path


def spoil(path: Path, **changes: np.ndarray | None) -> None:
    arrays = {name: changes.get(name, value) for name, value in load_file(path).items()}
    kept = {name: value for name, value in arrays.items() if value is not None}
    save_file(kept, path, metadata={"format": FORMAT, "task": CART})


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reward": None}, "{path}: expected reward, which is missing"),
        (
            {"action": np.zeros((4, 2), np.float32)},
            "{path}: episode.action: expected shape (T, 1), got (4, 2)",
        ),
        (
            {"reward": np.full(4, np.nan, np.float32)},
            "{path}: episode.reward: expected finite values, got NaN or Inf",
        ),
    ],
)
def test_episodes_that_cannot_be_learned_from(
    changes: dict[str, np.ndarray | None],
    expected: str,
    offline: bool,
    episode: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(episode, **changes)
    data = words(data=episode.parent, offline=str(offline).lower())
    assert main(["train", *data, f"run={tmp_path / 'run'}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", f"error: {expected.format(path=episode)}")
    assert not (tmp_path / "run").exists()
