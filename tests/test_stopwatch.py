"""Time is told beside the other tables, which stay equal bit for bit."""

from pathlib import Path

import pytest

from tests.runs import play, tiny
from wmrobot.app.training import stopwatch
from wmrobot.app.training.stopwatch import (
    COLUMNS,
    TIMING_FILE,
    Stopwatch,
    evaluation_times,
    read_times,
)
from wmrobot.core.errors import DataError


class Hands:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: self.now)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_work_that_is_done_again_counts_once(tmp_path: Path, hands: Hands) -> None:
    first = Stopwatch(tmp_path)
    for decisions, event in ((10, "evaluation"), (10, "save"), (20, "evaluation")):
        hands.now += 5
        first.mark(decisions, 2 * decisions, event)  # type: ignore[arg-type]
    hands.now = 7000.0  # the process was killed before its second checkpoint
    second = Stopwatch(tmp_path)
    second.go_on(10)
    assert second.seconds() == 10.0
    hands.now += 3
    second.mark(20, 40, "evaluation")
    assert evaluation_times(tmp_path) == {20: 5.0, 40: 13.0}
    assert [row["event"] for row in read_times(tmp_path)] == [
        "evaluation", "save", "evaluation",
    ]  # fmt: skip


def test_a_run_without_times_has_none(tmp_path: Path) -> None:
    assert evaluation_times(tmp_path) == {}


def test_a_row_of_another_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / TIMING_FILE
    path.write_text(",".join(COLUMNS) + "\n10,20\n")
    with pytest.raises(DataError) as caught:
        evaluation_times(tmp_path)
    assert str(caught.value) == (
        f"{path}, line 2: expected the columns decisions,step,event,wall_clock_s, got '10,20'; "
        "delete the file, at the loss of the times in it"
    )


@pytest.mark.parametrize("torn", ["", "decis", ",".join(COLUMNS), "\n", "\n20,40,evalu"])
def test_a_row_that_was_being_written_is_left_out(torn: str, tmp_path: Path, hands: Hands) -> None:
    path = tmp_path / TIMING_FILE
    header = ",".join(COLUMNS)
    whole = f"{header}\n10,20,evaluation,4.5" if torn.startswith("\n") else ""
    path.write_text(whole + torn)
    watch = Stopwatch(tmp_path)
    watch.go_on(10)
    hands.now += 2
    watch.mark(20, 40, "save")
    rows = path.read_text().splitlines()
    assert rows[:-1] == [header, *(["10,20,evaluation,4.5"] if whole else [])]
    assert rows[-1] == f"20,40,save,{6.5 if whole else 2:g}"


def test_every_evaluation_of_a_broken_run_is_timed(tmp_path: Path) -> None:
    cfg = tiny()
    assert not play(cfg, tmp_path, die=50)
    assert play(cfg, tmp_path)
    times = evaluation_times(tmp_path)
    assert list(times) == [60, 120]  # of 30 and 60 decisions, two environment steps each
    assert 0 < times[60] < times[120]
