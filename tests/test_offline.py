"""Recorded episodes: written by one run, learned from by another, alone or first."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import (
    CART,
    COUNTER,
    PLAIN,
    assert_same,
    end_of,
    opened,
    play,
    silent,
    tiny,
    words,
)
from tests.tiny import make_card
from wmrobot.app.cli import main
from wmrobot.app.controllers import checkpoint_folders, read_controller
from wmrobot.core.errors import CheckpointError, DataError
from wmrobot.data.episodes import Episode, read_episodes, write_episode

CART_SPEC = make_card(CART).task


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of `cart` by a run of two environments, which ends amid two more."""
    folder = tmp_path_factory.mktemp("recorded")
    cfg = tiny(num_envs=2, steps=44, eval_freq=0, save_episodes=str(folder / "episodes"))
    assert not play(cfg, folder / "run", stop=14)
    assert play(cfg, folder / "run")
    return folder


def test_every_finished_episode_is_written_as_it_was_lived(recorded: Path) -> None:
    files = sorted((recorded / "episodes").iterdir())
    assert [file.name for file in files] == [f"episode-{i:06d}.safetensors" for i in range(8)]
    with opened(
        tiny(num_envs=2, steps=44, eval_freq=0, save_episodes=str(recorded / "episodes")),
        recorded / "run",
    ) as trainer:
        stored = trainer.replay.rows_since(np.zeros(2, dtype=np.int64))
    begins, ends = stored["begin"], stored["end"]
    rings = np.repeat([0, 1], ends - begins)
    for index, (_, episode) in enumerate(read_episodes(recorded / "episodes", CART_SPEC)):
        start = 6 * (index // 2)  # 5 decisions take 6 rows
        rows = np.flatnonzero(rings == index % 2)[start : start + 6]
        np.testing.assert_array_equal(episode.obs["state"], stored["obs"]["state"][rows])
        np.testing.assert_array_equal(episode.action, stored["action"][rows[:-1]])
        np.testing.assert_array_equal(episode.reward, stored["reward"][rows[:-1]])
        assert not episode.terminated


def test_offline_run_learns_from_episodes_alone(recorded: Path, tmp_path: Path) -> None:
    cfg = tiny(offline=True, data=str(recorded / "episodes"), num_envs=3, steps=30, eval_freq=15)
    with opened(cfg, tmp_path / "run") as trainer:
        assert trainer.replay.num_samples == 8 * 5  # none was overwritten
        assert trainer.loop(silent)
        assert vars(trainer.counters) == {
            "decisions": 30, "settled": 30, "updates": 30, "episodes": 0, "owed": 0,
        }  # fmt: skip
        assert trainer.replay.num_samples == 8 * 5
    rows = (tmp_path / "run" / "eval.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "15", "30"]  # updates


@pytest.mark.slow
def test_broken_offline_run_ends_as_the_whole_one(recorded: Path, tmp_path: Path) -> None:
    episodes = tmp_path / "episodes"
    shutil.copytree(recorded / "episodes", episodes)
    cfg = tiny(offline=True, data=str(episodes), steps=30, eval_freq=0)
    assert play(cfg, tmp_path / "whole")
    assert not play(cfg, tmp_path / "run", stop=8)
    assert not play(cfg, tmp_path / "run", die=17)
    assert play(cfg, tmp_path / "run")
    assert_same(end_of(cfg, tmp_path / "run"), end_of(cfg, tmp_path / "whole"))


def test_data_that_changed_since_a_run_began_is_refused(recorded: Path, tmp_path: Path) -> None:
    episodes = tmp_path / "episodes"
    shutil.copytree(recorded / "episodes", episodes)
    cfg = tiny(offline=True, data=str(episodes), steps=30, eval_freq=0)
    assert not play(cfg, tmp_path / "run", stop=8)
    shutil.copy(episodes / "episode-000000.safetensors", episodes / "episode-9.safetensors")
    checkpoint = checkpoint_folders(tmp_path / "run")[-1]
    with pytest.raises(CheckpointError) as caught:
        play(cfg, tmp_path / "run")
    assert str(caught.value) == (
        f"{checkpoint}: expected a checkpoint of this run's data, with num_rows=59, got 53; "
        "put that back as it was, or start a new run with init="
    )


def test_recorded_episodes_come_first_and_the_run_adds_its_own(
    recorded: Path, tmp_path: Path
) -> None:
    cfg = tiny(data=str(recorded / "episodes"), num_envs=2, steps=20, seed_steps=10, eval_freq=0)
    assert play(cfg, tmp_path / "run")
    with opened(cfg, tmp_path / "run") as trainer:
        assert trainer.replay.oldest.tolist() == [0, 0]
        assert trainer.replay.num_samples == 8 * 5 + 20


def test_uneven_episodes_all_fit(tmp_path: Path) -> None:
    lengths = [60, 1, 1, 2, 30, 7]
    for index, length in enumerate(lengths):
        episode = Episode(
            obs={"state": np.zeros((length + 1, 3), dtype=np.float32)},
            action=np.zeros((length, 1), dtype=np.float32),
            reward=np.zeros(length, dtype=np.float32),
            terminated=index % 2 == 1,
        )
        write_episode(tmp_path / "episodes" / f"{index}.safetensors", episode, CART_SPEC)
    cfg = tiny(offline=True, data=str(tmp_path / "episodes"), num_envs=4, steps=3)
    with opened(cfg, tmp_path / "run") as trainer:
        assert trainer.replay.num_samples == sum(lengths)


def test_episodes_that_do_not_fit_are_told(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(recorded / "episodes")
    for size, fits in ((1000, True), (20, False)):
        cfg = tiny(offline=True, data=data, num_envs=1, steps=3, replay={"buffer_size": size})
        with opened(cfg, tmp_path / f"run-{size}") as trainer:
            assert (trainer.replay.num_samples == 8 * 5) is fits
        assert ("the first ones are forgotten" in capsys.readouterr().err) is not fits


def test_pretraining_on_recorded_episodes_without_random_decisions(
    recorded: Path, tmp_path: Path
) -> None:
    cfg = tiny(
        data=str(recorded / "episodes"), seed_steps=0, pretrain_updates=9, steps=2, eval_freq=0,
        updates_per_decision=1.0,
    )  # fmt: skip
    assert play(cfg, tmp_path / "run")
    with opened(cfg, tmp_path / "run") as trainer:
        assert trainer.counters.updates == 9 + 1


def test_episodes_of_another_task_or_shape_or_none(recorded: Path, tmp_path: Path) -> None:
    episodes = recorded / "episodes"
    first = sorted(episodes.iterdir())[0]

    def refusal(**changes: object) -> str:
        with (
            pytest.raises(DataError) as caught,
            opened(tiny(**{"offline": True, **changes}), tmp_path / "run"),  # type: ignore[arg-type]
        ):
            pass
        return str(caught.value)

    assert refusal(task=COUNTER, data=str(episodes)) == (
        f"{first}: expected an episode of {COUNTER}, got one of {CART}"
    )
    assert refusal(data=str(tmp_path / "none")) == (
        f"{tmp_path / 'none'}: expected episodes (*.safetensors), found none"
    )
    episode = Episode(
        obs={"state": np.zeros((3, 4), dtype=np.float32)},
        action=np.zeros((2, 1), dtype=np.float32),
        reward=np.zeros(2, dtype=np.float32),
        terminated=False,
    )
    write_episode(tmp_path / "wrong" / "a.safetensors", episode, CART_SPEC)
    assert refusal(data=str(tmp_path / "wrong")) == (
        f"{tmp_path}/wrong/a.safetensors: episode.obs.state: expected shape (T + 1, 3), got (3, 4)"
    )
    wide = replace(episode, action=np.zeros((2, 2), dtype=np.float32))
    write_episode(tmp_path / "wide" / "a.safetensors", wide, CART_SPEC)
    assert refusal(data=str(tmp_path / "wide")) == (
        f"{tmp_path}/wide/a.safetensors: episode.action: expected shape (T, 1), got (2, 2)"
    )
    spoiled = tmp_path / "spoiled" / "a.safetensors"
    spoiled.parent.mkdir()
    spoiled.write_bytes(first.read_bytes()[:100])
    assert refusal(data=str(spoiled.parent)).startswith(
        f"{spoiled}: expected an episode, got something else ("
    )


def test_run_that_failed_to_begin_can_be_begun_in_the_same_folder(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    wrong = words(data=recorded, offline="true", steps=4, eval_freq=0)
    assert main(["train", *wrong, f"run={run}"]) == 2
    assert capsys.readouterr().err == (
        f"error: {recorded}: expected episodes (*.safetensors), found none\n"
    )
    right = words(data=recorded / "episodes", offline="true", steps=4, eval_freq=0)
    assert main(["train", *right, f"run={run}"]) == 0
    assert len((run / "eval.csv").read_text().splitlines()) == 2


def test_fine_tuning_starts_from_the_weights_of_a_run(recorded: Path, tmp_path: Path) -> None:
    cfg = tiny(init=str(recorded / "run"), seed=9, steps=20, eval_freq=0)
    donor, _ = read_controller(checkpoint_folders(recorded / "run")[-1], torch.device("cpu"))
    with opened(cfg, tmp_path / "run") as trainer:
        own, targets = trainer.model.state_dict(), trainer.learner.target_values.state_dict()
        assert all(value.equal(own[name]) for name, value in donor.state_dict().items())
        assert all(value.equal(own[f"values.{name}"]) for name, value in targets.items())
        assert trainer.counters.updates == 0
        assert trainer.loop(silent)


def test_fine_tuning_from_weights_that_do_not_fit(recorded: Path, tmp_path: Path) -> None:
    donor = checkpoint_folders(recorded / "run")[-1]
    for index, changes in enumerate(
        ({"task": COUNTER}, {"model": {**PLAIN["model"], "mlp_dim": 24}})
    ):
        cfg = tiny(**{"init": str(recorded / "run"), **changes})  # type: ignore[arg-type]
        with (
            pytest.raises(CheckpointError) as caught,
            opened(cfg, tmp_path / str(index)),
        ):
            pass
        message = str(caught.value)
        assert message.startswith(f"{donor}: ")
        assert "expected shape" in message or "weights of another model" in message
        assert "init takes weights of the same sizes: expected those of state" in message
        assert message.endswith("(profile=base)")


def test_fine_tuning_from_a_damaged_run(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded / "run", tmp_path / "donor")
    file = checkpoint_folders(tmp_path / "donor")[-1] / "controller.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with (
        pytest.raises(CheckpointError) as caught,
        opened(tiny(init=str(tmp_path / "donor")), tmp_path / "run"),
    ):
        pass
    assert str(caught.value) == (
        f"{file}: altered (its SHA-256 is not the manifest's); use another one"
    )
