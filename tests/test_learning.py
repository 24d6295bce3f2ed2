"""Does it learn? `make soak` tells; here, that pictures train and drive too."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import WORDS
from wmrobot.app.cli import main

SEEDS = (5, 6, 7)  # 1 to 4 were used to choose settings


def returns_of(run: Path, capfd: pytest.CaptureFixture[str], episodes: int) -> list[float]:
    capfd.readouterr()
    words = [f"run={run}", f"episodes={episodes}", "seed=2", "threads=1"]
    assert main(["evaluate", *words, "--json"]) == 0
    return [episode["reward"] for episode in json.loads(capfd.readouterr().out)["episodes"]]


@pytest.mark.slow
@pytest.mark.parametrize("obs", ["rgb", "state+rgb"])
def test_pictures_train_and_drive(
    obs: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["cartpole-swingup", f"obs={obs}", "render=fast", f"run={tmp_path / 'run'}", *WORDS]
    words += ["num_envs=2", "steps=60", "seed_steps=20", "eval_freq=0", "eval_episodes=1"]
    assert main(["train", *words]) == 0
    (reward,) = returns_of(tmp_path / "run", capfd, episodes=1)
    assert 0 <= reward <= 1000


@pytest.mark.soak
def test_every_preregistered_seed_learns(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    """The bar of `make demo`: mean of three seeds at least 800, none under 700."""
    means = []
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for seed in SEEDS:
        run = tmp_path / f"seed{seed}"
        words = ["cartpole-swingup", "profile=nano", f"seed={seed}", f"run={run}"]
        started = time.monotonic()
        # a process of its own, with the threads that a user's has and not those of the tests
        subprocess.run([sys.executable, "-m", "wmrobot", "train", *words], env=env, check=True)
        record_property(f"seed {seed} minutes", round((time.monotonic() - started) / 60, 2))
        means.append(float(np.mean(returns_of(run, capfd, episodes=10))))
        record_property(f"seed {seed} return", round(means[-1], 1))
    assert np.mean(means) >= 800, means
    assert min(means) >= 700, means
