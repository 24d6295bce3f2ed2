"""What every test shares."""

import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from wmrobot.envs.render import choose_backend

choose_backend()  # before any test module imports MuJoCo or dm_control

settings.register_profile("default", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=2000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long versions of the tests")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny products; torch is not imported yet
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which children inherit, changes no test
    settings.load_profile("soak" if config.getoption("--soak") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine, or this call, is not for."""
    skips = {}
    if not config.getoption("--soak"):
        skips["soak"] = pytest.mark.skip(reason="long: make soak")
    if any("gpu" in item.keywords for item in items) and not _has_gpu():
        skips["gpu"] = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        for name in skips.keys() & item.keywords.keys():
            item.add_marker(skips[name])


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def cart_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle of a cart, to be read and copied, not altered; tracing it takes long."""
    from tests.bundles import random_facts, write

    here = tmp_path_factory.getbasetemp()
    together = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here
    folder = together / "bundles" / "cart"
    with FileLock(together / "bundles.lock"):  # one of the processes exports, the others wait
        return folder if folder.exists() else write(folder, random_facts())
