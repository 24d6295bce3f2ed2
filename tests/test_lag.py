"""Time that is waited for a GPU is learning's; told by a GPU of paper, with a clock of its own."""

from collections.abc import Iterator

import pytest
import torch

from wmrobot.app.training import lag
from wmrobot.app.training.lag import Lag

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Gpu:
    """When it will have done what it was handed, and what time it is [s]."""

    def __init__(self) -> None:
        self.now, self.busy_until = 100.0, 0.0
        self.waits = 0


class Event:
    """Reached when all that the GPU was handed before is done."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.at = gpu, 0.0

    def record(self) -> None:
        self.at = max(self.gpu.now, self.gpu.busy_until)

    def query(self) -> bool:
        return self.gpu.now >= self.at

    def synchronize(self) -> None:
        self.gpu.waits += not self.query()

    def elapsed_time(self, later: "Event") -> float:
        return (later.at - self.at) * 1e3


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    gpu = Gpu()
    monkeypatch.setattr(lag.torch.cuda, "Event", lambda enable_timing: Event(gpu))
    yield gpu
    assert gpu.waits == 0  # it never makes anyone wait


def test_what_a_decision_waits_for_is_learning(gpu: Gpu) -> None:
    told = Lag(GPU)
    gpu.busy_until = gpu.now + 8.0
    told.handed_over()
    gpu.now += 5.0  # simulated
    begin = gpu.now
    gpu.now = gpu.busy_until + 2.0  # waited for 3 s, planned for 2 s
    assert told.within(gpu.now - begin) == pytest.approx(3.0)
    gpu.now += 4.0
    assert told.within(4.0) == 0.0  # told once


def test_what_was_learned_meanwhile_is_not_waited_for(gpu: Gpu) -> None:
    told = Lag(GPU)
    gpu.busy_until = gpu.now + 3.0
    told.handed_over()
    gpu.now += 5.0
    gpu.now += 2.0
    assert told.within(2.0) == 0.0


def test_nobody_has_waited_while_it_still_learns(gpu: Gpu) -> None:
    told = Lag(GPU)
    gpu.busy_until = gpu.now + 3.0
    told.handed_over()
    gpu.now += 1.0
    assert told.within(1.0) == 0.0
    gpu.now += 2.5
    assert told.within(2.5) == pytest.approx(2.0)


def test_before_the_first_update_nothing_is_late(gpu: Gpu) -> None:
    gpu.now += 1.0
    assert Lag(GPU).within(1.0) == 0.0


def test_on_a_cpu_nothing_is_late() -> None:
    told = Lag(CPU)
    told.handed_over()
    assert told.within(1.0) == 0.0
