"""Episodes on disk: what is written comes back, and what does not fit is refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from wmrobot.core.errors import DataError
from wmrobot.core.spec import TaskSpec
from wmrobot.data.episodes import FORMAT, Episode, read_episode, read_episodes, write_episode
from wmrobot.data.replay import Replay

WALKER = TaskSpec(
    name="walker-run",
    obs_shapes={"state": (3,), "rgb": (3, 8, 8)},
    action_dim=2,
    control_dt=0.05,
    action_repeat=2,
    episode_decisions=500,
    episodic=False,
    obs_names=("hip", "knee", "ankle"),
    action_bounds=((-1.0, -1.0), (1.0, 1.0)),
)


def make_episode(length: int = 4, *, terminated: bool = False, seed: int = 0) -> Episode:
    draw = np.random.default_rng(seed)
    return Episode(
        obs={
            "state": draw.normal(size=(length + 1, 3)).astype(np.float32),
            "rgb": draw.integers(256, size=(length + 1, 3, 8, 8), dtype=np.uint8),
        },
        action=draw.uniform(-1, 1, (length, 2)).astype(np.float32),
        reward=draw.uniform(0, 1, length).astype(np.float32),
        terminated=terminated,
    )


def check_equal(a: Episode, b: Episode) -> None:
    assert set(a.obs) == set(b.obs)
    for name, value in a.obs.items():
        np.testing.assert_array_equal(value, b.obs[name])
        assert value.dtype == b.obs[name].dtype
    np.testing.assert_array_equal(a.action, b.action)
    np.testing.assert_array_equal(a.reward, b.reward)
    assert a.terminated == b.terminated


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("length", [1, 6])
def test_written_episodes_come_back(tmp_path: Path, length: int, *, terminated: bool) -> None:
    path = tmp_path / "new" / "episode.safetensors"
    episode = make_episode(length, terminated=terminated)
    write_episode(path, episode, WALKER)
    check_equal(read_episode(path, WALKER), episode)
    check_equal(read_episode(path), episode)
    assert [p.name for p in path.parent.iterdir()] == ["episode.safetensors"]


def test_anything_that_reads_safetensors_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    shapes = {name: value.shape for name, value in load_file(path).items()}
    assert shapes == {
        "obs.state": (5, 3),
        "obs.rgb": (5, 3, 8, 8),
        "action": (4, 2),
        "reward": (4,),
        "terminated": (1,),
    }


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        write_episode(tmp_path / f"episode-{seed}.safetensors", make_episode(seed=seed), WALKER)
    for seed, (_, episode) in enumerate(read_episodes(tmp_path, WALKER)):
        check_equal(episode, make_episode(seed=seed))
    assert seed == 2


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        list(read_episodes(tmp_path))
    assert str(error.value) == (f"{tmp_path}: expected episodes (*.safetensors), found none")


def test_another_tasks_episode_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    with pytest.raises(DataError) as error:
        read_episode(path, replace(WALKER, name="cheetah-run"))
    assert str(error.value) == (
        f"{path}: expected an episode of cheetah-run, got one of walker-run"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"control_dt": 0.02}, r"expected control_dt \[s\] 0.05, got 0.02"),
        ({"obs_names": ("hip", "ankle", "knee")}, "expected names of observations .*, got .*"),
        (
            {"action_bounds": ((-0.5, -1.0), (0.5, 1.0))},
            r"expected action bounds \(\(-1.0, -1.0\), .*, got \(\(-0.5, -1.0\), .*",
        ),
    ],
)
def test_an_episode_of_the_task_as_it_was_is_refused(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    now = replace(WALKER, **change)  # type: ignore[arg-type]
    told = rf"walker-run has changed since this was recorded: {expected}; put the task back"
    with pytest.raises(DataError, match=told):
        read_episode(path, now)
    check_equal(read_episode(path, replace(WALKER, obs_shapes={"state": (3,)})), make_episode())


def test_an_episode_from_elsewhere_needs_a_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    arrays, told = load_file(path), {"format": FORMAT, "task": WALKER.name}
    save_file(arrays, path, metadata=told)
    check_equal(read_episode(path, WALKER), make_episode())
    for odd in ("{", json.dumps({"name": "walker-run"}), "[]"):
        save_file(arrays, path, metadata={**told, "spec": odd})
        with pytest.raises(DataError, match="expected a task's facts as spec, got others"):
            read_episode(path, WALKER)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors: no such file$"):
        read_episode(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0, 5, 60, -1, -40])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r": expected an episode, got something else \("):
        read_episode(path)


def test_other_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(DataError) as error:
        read_episode(path)
    assert str(error.value) == f"{path}: expected format wmrobot-episode-1, got None"


def tampered(tmp_path: Path, **changes: np.ndarray | None) -> Path:
    """An episode file of which somebody has replaced arrays."""
    path = tmp_path / "episode.safetensors"
    write_episode(path, make_episode(), WALKER)
    arrays = {name.replace(".", "_"): (name, value) for name, value in load_file(path).items()}
    kept = {
        name: changes.get(key, value)
        for key, (name, value) in arrays.items()
        if changes.get(key, value) is not None
    }
    save_file(kept, path, metadata={"format": "wmrobot-episode-1", "task": "walker-run"})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, "expected reward, which is missing"),
        ({"reward": np.zeros(3, np.float32)}, "episode.reward: expected shape (4,), got (3,)"),
        ({"obs_state": np.zeros((4, 3), np.float32)}, "episode.obs.state: expected 5 rows, got 4"),
        (
            {"reward": np.array([0, np.inf, 0, 0], np.float32)},
            "episode.reward: expected finite values, got NaN or Inf",
        ),
        (
            {"obs_state": np.full((5, 3), np.nan, np.float32)},
            "episode.obs.state: expected finite values, got NaN or Inf",
        ),
        (
            {"action": np.full((4, 2), 6, np.float32)},
            "expected actions in [-1, 1], got 6; scale them by what the actuators can do",
        ),
        (
            {"action": np.full((4, 2), np.nan, np.float32)},
            "episode.action: expected finite values, got NaN or Inf",
        ),
        ({"action": np.zeros(4, np.float32)}, "episode.action: expected shape (T, A), got (4,)"),
        (
            {"action": np.zeros((0, 2), np.float32)},
            "episode.action: expected shape (T, A), got (0, 2)",
        ),
    ],
)
def test_inconsistent_episodes_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray | None], message: str
) -> None:
    path = tampered(tmp_path, **changes)
    with pytest.raises(DataError) as error:
        read_episode(path)
    assert str(error.value) == f"{path}: {message}"


def test_pictures_of_another_scale_are_refused() -> None:
    episode = make_episode()
    pictures = episode.obs["rgb"].astype(np.float32) / 255
    replay = Replay(
        obs_shapes={"state": (3,), "rgb": (3, 8, 8)},
        action_dim=2,
        num_envs=1,
        capacity=20,
        horizon=2,
        frame_stack=2,
    )
    replay.add_episode(episode, 0)
    wrong = Episode(
        obs={**episode.obs, "rgb": pictures},
        action=episode.action,
        reward=episode.reward,
        terminated=False,
    )
    with pytest.raises(DataError) as error:
        replay.add_episode(wrong, 0)
    assert str(error.value) == (
        "episode.obs.rgb: expected uint8, got float32; pictures are whole grey levels from 0 to 255"
    )
