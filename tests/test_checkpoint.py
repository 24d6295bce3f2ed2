"""Checkpoints: whole or not at all, verified to the last byte, the last good one always kept."""

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runs import (
    CART,
    COUNTER,
    assert_same,
    end_of,
    opened,
    play,
    silent,
    snapshot_of,
    tiny,
)
from wmrobot.app.controllers import KIND, SCHEMA, checkpoint_folders, read_controller
from wmrobot.app.training import trainer
from wmrobot.app.training.checkpoint import (
    ReplayChunks,
    read_training,
    refuse_another_device,
)
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import MANIFEST, read_json, seal, sha256, unseal, write_json
from wmrobot.core.spec import Step
from wmrobot.data.replay import Replay

CFG = tiny(steps=24, eval_freq=0)
CPU = torch.device("cpu")
FILES = [
    "controller.json", "controller.safetensors", "training.json", "training.safetensors",
    "../../replay/chunk-000000000029.json", "../../replay/chunk-000000000029.safetensors",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert play(CFG, run)
    return run


@pytest.fixture
def checkpoint(finished: Path, tmp_path: Path) -> Path:
    """The last checkpoint of a copy of that run, to be spoiled."""
    shutil.copytree(finished, tmp_path / "run")
    return checkpoint_folders(tmp_path / "run")[-1]


def refusal(checkpoint: Path) -> str:
    """What is said of a checkpoint that is not fit to go on with."""
    with opened(CFG, checkpoint.parents[1].with_name("other")) as trainer:
        with pytest.raises(CheckpointError) as caught:
            trainer.resume(checkpoint)
        untouched = trainer.counters
    assert untouched.decisions == 0
    return str(caught.value)


def test_files_of_a_checkpoint_are_the_ones_that_are_spoiled_below(checkpoint: Path) -> None:
    manifest = read_json(checkpoint / MANIFEST)
    assert {*manifest["sha256"], *manifest["shared_sha256"]} >= set(FILES)
    assert {path.name for path in checkpoint.iterdir()} == {MANIFEST, *FILES[:4]}


@pytest.mark.parametrize("name", FILES)
def test_altered_byte_is_refused(name: str, checkpoint: Path) -> None:
    path = (checkpoint / name).resolve()
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=8).tolist():
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << place % 8
        path.write_bytes(spoiled)
        with pytest.raises(CheckpointError) as caught:
            read_training(checkpoint)
        assert str(caught.value) == (
            f"{path}: altered (its SHA-256 is not the manifest's); use another one"
        )


@pytest.mark.parametrize("name", FILES)
def test_truncated_and_missing_files_are_refused(name: str, checkpoint: Path) -> None:
    path = (checkpoint / name).resolve()
    os.truncate(path, path.stat().st_size // 2)
    assert refusal(checkpoint) == (
        f"{path}: altered (its SHA-256 is not the manifest's); use another one"
    )
    path.unlink()
    assert refusal(checkpoint) == f"{path}: listed in the manifest, but missing; use another one"


def test_altered_byte_of_the_manifest_is_refused(checkpoint: Path) -> None:
    path = checkpoint / MANIFEST
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << place % 7
        path.write_bytes(spoiled)
        with pytest.raises(CheckpointError):
            unseal(checkpoint, KIND, SCHEMA, with_shared=True)
    path.write_bytes(whole[:-10])
    assert refusal(checkpoint).startswith(f"{path}: expected JSON, got something else")
    path.unlink()
    assert refusal(checkpoint) == (
        f"{checkpoint}: expected a controller with a manifest.json, found none"
    )


def test_newer_schema_and_another_kind_are_refused(checkpoint: Path) -> None:
    manifest = read_json(checkpoint / MANIFEST)
    write_json(checkpoint / MANIFEST, {**manifest, "schema": SCHEMA + 1})
    assert refusal(checkpoint) == (
        f"{checkpoint}: schema {SCHEMA + 1} is newer than this wmrobot reads ({SCHEMA}); "
        "update wmrobot"
    )
    write_json(checkpoint / MANIFEST, {**manifest, "kind": "bundle"})
    assert refusal(checkpoint) == f"{checkpoint}: expected a controller, got a bundle"
    write_json(checkpoint / MANIFEST, {**manifest, "schema": 0})
    assert refusal(checkpoint) == (
        f"{checkpoint / MANIFEST}: altered (not as it was written); use another one"
    )


def test_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    other = tiny(COUNTER, steps=8, seed_steps=8)
    assert play(other, tmp_path / "run")
    checkpoint = checkpoint_folders(tmp_path / "run")[-1]
    assert refusal(checkpoint) == (
        f"{checkpoint}: expected a checkpoint of this run's task, with name={CART}, got {COUNTER}; "
        "put that back as it was, or start a new run with init="
    )


def test_checkpoint_of_other_settings_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with (
        opened(tiny(steps=20, eval_freq=0), tmp_path / "other") as trainer,
        pytest.raises(CheckpointError) as caught,
    ):
        trainer.resume(checkpoint)
    assert str(caught.value) == (
        f"{checkpoint}: expected a checkpoint of this run's settings, with steps=20, got 24; "
        "put that back as it was, or start a new run with init="
    )


def test_checkpoint_from_a_device_of_another_kind_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "controller.json"
    tree = json.loads(path.read_text())
    tree["card"]["made"]["device"] = "cuda"
    path.write_text(json.dumps(tree))
    shared = read_json(checkpoint / MANIFEST)["shared_sha256"]
    seal(checkpoint, {"kind": KIND, "schema": SCHEMA}, shared)
    before = snapshot_of(checkpoint.parents[1])
    with pytest.raises(CheckpointError) as caught, opened(CFG, checkpoint.parents[1]):
        pass
    assert str(caught.value) == (
        f"{checkpoint}: expected a checkpoint from a device of the kind that this run is on, cpu, "
        f"got one from cuda; resume it on a machine with cuda, or start a new run with "
        f"init={checkpoint}"
    )
    assert snapshot_of(checkpoint.parents[1]) == before
    with pytest.raises(CheckpointError, match="that this run is on, cuda, got one from cpu; "):
        refuse_another_device(checkpoint, "cpu", torch.device("cuda", 0))
    refuse_another_device(checkpoint, "cuda", torch.device("cuda", 0))


def test_checkpoint_of_a_version_with_fewer_settings_goes_on(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run had today's default of what it did not know."""

    def of_an_older_version(folder: Path) -> dict[str, Any]:
        state = read_training(folder)
        del state["settings"]["learner"]["prior_from"], state["settings"]["extra_iterations"]
        return state

    monkeypatch.setattr(trainer, "read_training", of_an_older_version)
    with opened(CFG, checkpoint.parents[1]) as again:
        assert again.counters.decisions == 24
    with (
        opened(replace(CFG, extra_iterations=0), tmp_path / "other") as other,
        pytest.raises(CheckpointError, match="with extra_iterations=0, got 2;"),
    ):
        other.resume(checkpoint)


def test_weights_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    path = checkpoint / "controller.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = np.array([np.nan], dtype="<f4").tobytes()
    path.write_bytes(data)
    seal(checkpoint, {"kind": KIND, "schema": SCHEMA})
    with pytest.raises(CheckpointError, match=r": expected finite weights, got NaN or Inf$"):
        read_controller(checkpoint, CPU)


def test_weights_of_another_size_are_refused(checkpoint: Path) -> None:
    path = checkpoint / "controller.json"
    tree = json.loads(path.read_text())
    tree["card"]["model"]["mlp_dim"] = 8
    path.write_text(json.dumps(tree))
    seal(checkpoint, {"kind": KIND, "schema": SCHEMA})
    expected = rf"^{re.escape(str(checkpoint))}: \S+: expected shape \(.*\), got \(.*\)$"
    with pytest.raises(CheckpointError, match=expected):
        read_controller(checkpoint, CPU)


class Full:
    """A disk that is full from a given write on: what was begun stays half-written."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self._fsync = os.fsync

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left < 0:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)


def test_no_space_left_keeps_the_last_good_checkpoint_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert not play(CFG, run, stop=20)
    good, target = run / "checkpoints" / "000000020", run / "checkpoints" / "000000023"
    with opened(CFG, run) as trainer:
        for _ in range(3):
            trainer._advance()
            trainer._settle()
        before = snapshot_of(run)
        for writes in range(7):  # replay 2, controller 2, training 2, manifest 1
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", Full(writes))
                with pytest.raises(CheckpointError) as caught:
                    trainer.save()
            assert str(caught.value) == (
                f"{target}: no space left while saving, nothing was written. The last good "
                f"checkpoint is {good}; free some space, then go on with: "
                f"wmrobot train resume={run}"
            )
            assert snapshot_of(run) == before
        trainer.save()  # there is space again
    assert checkpoint_folders(run)[-1] == target
    assert play(CFG, run)
    assert play(CFG, tmp_path / "whole")
    assert_same(end_of(CFG, run), end_of(CFG, tmp_path / "whole"))


def test_another_error_of_the_disk_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(CFG, tmp_path / "run") as trainer, monkeypatch.context() as patch:
        before = snapshot_of(tmp_path / "run")
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="Input/output error"):
            trainer.save()
    assert snapshot_of(tmp_path / "run") == before


def test_newest_two_checkpoints_stay_with_the_replay_that_they_need(finished: Path) -> None:
    folders = checkpoint_folders(finished)
    assert [folder.name for folder in folders] == ["000000012", "000000024"]
    needed = {
        Path(name).name
        for folder in folders
        for name in read_json(folder / MANIFEST)["shared_sha256"]
    }
    assert {path.name for path in (finished / "replay").iterdir()} == needed
    for folder in folders:
        read_training(folder)


def test_what_a_dead_process_left_is_swept_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert not play(CFG, run, stop=14)
    aside = run / "checkpoints" / ".000000023.1234.part"
    aside.mkdir()
    (aside / "controller.json").write_text("{")
    (run / "replay" / ".chunk-000000000019.json.1234.part").write_text("{")
    (run / "replay" / "chunk-000000000019.json").write_text("{}")
    assert play(CFG, run)
    names = [path.name for path in run.rglob("*")]
    assert not [name for name in names if name.endswith(".part") or "019" in name]


def test_death_between_the_renames_of_a_replacement_loses_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert not play(CFG, run, stop=20)
    folder = run / "checkpoints" / "000000020"
    shutil.rmtree(run / "checkpoints" / "000000012")
    replaced = folder.rename(folder.with_name("000000020.replaced"))
    assert checkpoint_folders(run) == [replaced]
    with opened(CFG, run) as trainer:
        trainer.save()
        assert checkpoint_folders(run) == [replaced, folder]
        assert trainer.loop(silent)
    assert play(CFG, tmp_path / "whole")
    assert_same(end_of(CFG, run), end_of(CFG, tmp_path / "whole"))
    assert checkpoint_folders(run) == [folder, run / "checkpoints" / "000000024"]


def test_saving_costs_what_was_added(tmp_path: Path) -> None:
    cfg = tiny(steps=400, seed_steps=400, save_freq=100, eval_freq=0, pretrain_updates=0)
    assert play(cfg, tmp_path / "run")
    sizes = [
        path.stat().st_size for path in sorted((tmp_path / "run/replay").glob("*.safetensors"))
    ]
    assert len(sizes) == 4
    assert max(sizes) < 1.2 * min(sizes)


def ring(num_envs: int = 2, capacity: int = 20) -> Replay:
    return Replay(
        obs_shapes={"state": (1,)}, action_dim=1, num_envs=num_envs, capacity=capacity, horizon=2
    )


def live(replay: Replay, lengths: tuple[int, int], decisions: int, t: int) -> int:
    """Let two environments live on whose episodes have different lengths."""
    for _ in range(decisions):
        t += 1
        ended = np.array([t % length == 0 for length in lengths])
        obs = {"state": np.full((2, 1), t, dtype=np.float32)}
        step = Step(
            obs=obs,
            reward=np.full(2, t, dtype=np.float32),
            terminated=ended,
            truncated=np.zeros(2, dtype=np.bool_),
            final_obs=obs,
        )
        replay.add(np.zeros((2, 1), dtype=np.float32), step)
    return t


@pytest.mark.parametrize("gap", range(1, 30))
@pytest.mark.parametrize("most", [3, 1000])
def test_rings_that_go_round_unevenly_come_back(most: int, gap: int, tmp_path: Path) -> None:
    replay, t = ring(), 0
    replay._chunk_rows = most
    chunks = ReplayChunks(tmp_path, replay)
    replay.start({"state": np.zeros((2, 1), dtype=np.float32)})
    written: dict[str, str] = {}
    for _ in range(4):
        t = live(replay, (2, 50), gap, t)
        with chunks.adding() as pieces:
            pass
        for piece in pieces:
            written |= piece["sha256"]
        for name, digest in written.items():  # the checkpoints before need theirs
            assert sha256(tmp_path / name) == digest
    again = ring()
    ReplayChunks(tmp_path, again).load(pieces)
    assert again.num_samples == replay.num_samples
    if replay.num_samples:
        first, second = (r.sample(np.random.default_rng(0), 64) for r in (replay, again))
        assert_same([first.obs["state"].numpy()], [second.obs["state"].numpy()])
        for a, b in zip(first[1:5], second[1:5], strict=True):
            assert_same(a.numpy(), b.numpy())


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == (  # FIPS 180-2, appendix B.1
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
