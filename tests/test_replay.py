"""Replay: what is sampled is what was lived, across rings, ends, stacks and chunks."""

import numpy as np
import pytest

from wmrobot.core.errors import DataError
from wmrobot.core.spec import Step
from wmrobot.data.batch import Batch
from wmrobot.data.episodes import Episode
from wmrobot.data.replay import Replay

HORIZON, STACK = 3, 3


class World:
    """B counters: the observation tells environment, episode and decision, and all else follows."""

    def __init__(self, lengths: list[int], *, pictures: bool = True) -> None:
        self.lengths = np.array(lengths)
        self.episode = np.zeros(len(lengths), dtype=int)
        self.t = np.zeros(len(lengths), dtype=int)
        self.pictures = pictures

    def obs(self) -> dict[str, np.ndarray]:
        rows = np.arange(len(self.lengths))
        state = np.stack([rows, self.episode, self.t], axis=1).astype(np.float32)
        if not self.pictures:
            return {"state": state}
        frame = np.stack([rows, self.episode % 200, self.t], axis=1).astype(np.uint8)
        return {"state": state, "rgb": np.repeat(frame[:, 2:, None, None], 4, axis=3)}

    def step(self) -> tuple[np.ndarray, Step]:
        action = self.t[:, None].astype(np.float32)
        self.t += 1
        final = self.obs()
        ended = self.t == self.lengths
        terminated = ended & (np.arange(len(ended)) % 2 == 1)
        self.episode[ended] += 1
        self.t[ended] = 0
        return action, Step(
            obs=self.obs(),
            reward=final["state"][:, 2] * 10,
            terminated=terminated,
            truncated=ended & ~terminated,
            final_obs=final,
        )


def filled(lengths: list[int], decisions: int, capacity: int, *, pictures: bool = True) -> Replay:
    replay = make(len(lengths), capacity, pictures=pictures)
    world = World(lengths, pictures=pictures)
    replay.start(world.obs())
    for _ in range(decisions):
        replay.add(*world.step())
    return replay


def make(num_envs: int, capacity: int, *, pictures: bool = True) -> Replay:
    shapes: dict[str, tuple[int, ...]] = {"state": (3,)}
    if pictures:
        shapes["rgb"] = (1, 1, 4)
    return Replay(
        obs_shapes=shapes,
        action_dim=1,
        num_envs=num_envs,
        capacity=capacity,
        horizon=HORIZON,
        frame_stack=STACK,
    )


def check(batch: Batch, lengths: list[int]) -> None:
    """Every sampled window is one that `World` can have lived."""
    state = batch.obs["state"].numpy()
    mask = batch.mask.numpy().astype(bool)
    env, episode, t = state[..., 0], state[..., 1], state[..., 2]
    assert (env == env[0]).all()
    assert (episode == episode[0]).all()
    happened = mask.sum(axis=0)
    assert (happened >= 1).all()
    offsets = np.minimum(np.arange(HORIZON + 1)[:, None], happened)
    np.testing.assert_array_equal(t, t[0] + offsets)
    np.testing.assert_array_equal(batch.action.numpy()[..., 0][mask], t[:-1][mask])
    np.testing.assert_array_equal(batch.reward.numpy()[mask], 10 * t[1:][mask])
    lasts = np.array(lengths)[env[0].astype(int)]
    short = happened < HORIZON
    np.testing.assert_array_equal(t[-1][short], lasts[short])
    ends = (t[1:] == lasts) & mask & (env[0] % 2 == 1)
    np.testing.assert_array_equal(batch.terminated.numpy()[mask], ends[mask].astype(np.float32))
    if "rgb" in batch.obs:
        frames = batch.obs["rgb"].numpy()[..., 0, 0]  # (H + 1, B, STACK)
        ages = np.arange(STACK - 1, -1, -1)
        np.testing.assert_array_equal(frames, np.maximum(t[..., None] - ages, 0))


@pytest.mark.parametrize("lengths", [[7, 7], [5, 9, 2], [1, 40], [50]])
@pytest.mark.parametrize("decisions", [4, 23, 160])
def test_sampled_windows_are_what_was_lived(lengths: list[int], decisions: int) -> None:
    replay = filled(lengths, decisions, capacity=60 * len(lengths))
    if replay.num_samples:
        check(replay.sample(np.random.default_rng(0), 500), lengths)


def test_a_decision_can_be_sampled_as_soon_as_it_is_written() -> None:
    replay = filled([50], HORIZON - 1, capacity=100)
    assert replay.num_samples == 0
    with pytest.raises(DataError, match="collect more"):
        replay.sample(np.random.default_rng(0), 1)
    replay = filled([50], HORIZON, capacity=100)
    assert replay.num_samples == 1
    assert replay.sample(np.random.default_rng(0), 1).action[:, 0, 0].tolist() == [0, 1, 2]


def test_every_decision_of_a_finished_episode_starts_a_window() -> None:
    replay = filled([9], 9, capacity=100)
    starts = replay.sample(np.random.default_rng(0), 1000).obs["state"][0, :, 2].unique()
    assert starts.tolist() == list(range(9))


def test_sampling_is_uniform() -> None:
    replay = filled([7, 13], 39, capacity=200)
    state = replay.sample(np.random.default_rng(0), 40_000).obs["state"][0].numpy()
    _, counts = np.unique(state, axis=0, return_counts=True)
    assert len(counts) == replay.num_samples
    expected = 40_000 / replay.num_samples
    assert np.abs(counts / expected - 1).max() < 5 / np.sqrt(expected)


def test_overwritten_frames_are_never_sampled() -> None:
    replay = filled([1000], 500, capacity=50)
    t = replay.sample(np.random.default_rng(0), 2000).obs["state"][0, :, 2]
    oldest = int(replay.oldest[0])
    assert t.min() == oldest + STACK - 1
    assert t.max() == 500 - HORIZON


def test_chunks_restore_the_same_samples() -> None:
    lengths = [7, 12, 3]
    replay, world = make(3, 90), World(lengths)
    replay.start(world.obs())
    chunks, heads = [], replay.heads * 0
    for k in range(100):
        replay.add(*world.step())
        if k % 9 == 8:
            chunks.append(replay.rows_since(heads))
            heads = replay.heads
    chunks.append(replay.rows_since(heads))
    again = make(3, 90)
    again.load(chunk for chunk in chunks if (chunk["end"] > replay.oldest).any())
    check_same_samples(again, replay)
    for _ in range(30):  # and goes on the same
        a, step = world.step()
        replay.add(a, step)
        again.add(a, step)
    check_same_samples(again, replay)


def test_what_is_saved_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmrobot.data.replay._CHUNK_BYTES", 1)  # so that the least rows are taken
    lengths = [7, 12, 3]
    for decisions in (5, 25, 300):  # in one piece, in several, and where rings went round
        replay = filled(lengths, decisions, capacity=90)
        chunks = list(replay.chunks_since(replay.heads * 0))
        new = (chunk["end"] - chunk["begin"] for chunk in chunks)
        assert max(int(rows.max()) for rows in new) <= 4 * HORIZON + HORIZON
        assert (chunks[-1]["end"] == replay.heads).all()
        again = make(3, 90)
        again.load(chunks)
        check_same_samples(again, replay)
        assert list(replay.chunks_since(replay.heads)) == []


def check_same_samples(again: Replay, replay: Replay) -> None:
    assert again.num_samples == replay.num_samples
    first = replay.sample(np.random.default_rng(1), 300)
    second = again.sample(np.random.default_rng(1), 300)
    for a, b in zip(first[1:5], second[1:5], strict=True):
        assert a.equal(b)
    assert all(first.obs[name].equal(second.obs[name]) for name in first.obs)


def test_a_gap_between_chunks_is_refused() -> None:
    replay = filled([7], 60, capacity=30)
    chunk = replay.rows_since(replay.heads)
    again = filled([7], 5, capacity=30)
    with pytest.raises(DataError, match="replay chunk: expected rows of 1 environments"):
        again.load([chunk])


def test_one_copy_of_every_frame_and_the_need_is_told() -> None:
    shapes = {"rgb": (3, 64, 64)}
    arguments = {"obs_shapes": shapes, "action_dim": 6, "num_envs": 2, "horizon": 3}
    replay = Replay(**arguments, capacity=1000, frame_stack=3)  # type: ignore[arg-type]
    per_decision = replay.num_bytes / 1000
    assert per_decision < 1.05 * (3 * 64 * 64 + 100)
    with pytest.raises(DataError, match=r"needs 12\.\d+ GB, expected at most 1\.00 GB"):
        Replay(**arguments, capacity=1_000_000, budget_bytes=10**9)  # type: ignore[arg-type]


def test_recorded_episodes_come_back() -> None:
    episode = Episode(
        obs={"state": np.stack([np.zeros(6), np.zeros(6), np.arange(6)], 1).astype(np.float32)},
        action=np.arange(5, dtype=np.float32)[:, None],
        reward=10 * np.arange(1, 6, dtype=np.float32),
        terminated=False,
    )
    replay = make(1, 100, pictures=False)
    for _ in range(3):
        replay.add_episode(episode, 0)
    assert replay.num_samples == 15
    check(replay.sample(np.random.default_rng(0), 100), [5])
    replay.start({"state": np.zeros((1, 3), dtype=np.float32)})
    found = replay.finished_episode(0)
    assert found is not None
    np.testing.assert_array_equal(found.obs["state"], episode.obs["state"])
    np.testing.assert_array_equal(found.action, episode.action)
    assert not found.terminated


def test_an_episode_of_another_robot_is_refused() -> None:
    episode = Episode(
        obs={"state": np.zeros((3, 2), dtype=np.float32)},
        action=np.zeros((2, 1), dtype=np.float32),
        reward=np.zeros(2, dtype=np.float32),
        terminated=False,
    )
    with pytest.raises(
        DataError, match=r"episode.obs.state: expected shape \(T \+ 1, 3\), got \(3, 2\)"
    ):
        make(1, 100, pictures=False).add_episode(episode, 0)


def test_age_is_the_mean_over_all_that_is_drawn() -> None:
    # rows 0 to 6 of one episode: windows of 3 decisions start at rows 0 to 3
    replay = filled([100], 6, 50, pictures=False)
    assert replay.num_samples == 4
    assert replay.mean_age == (6 + 5 + 4 + 3) / 4
    assert filled([100, 100], 6, 50, pictures=False).mean_age == 2 * 4.5  # of two environments
    assert np.isnan(make(1, 50).mean_age)


def test_age_stops_growing_where_old_rows_are_overwritten() -> None:
    ages = [filled([10], decisions, 40, pictures=False).mean_age for decisions in (30, 400, 800)]
    assert ages[0] < ages[1]
    assert ages[1] == ages[2]
