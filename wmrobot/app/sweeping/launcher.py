"""Training processes, some at a time, through joblib's `Parallel`.

Each run is a process of its own, so that one that dies takes no other along; joblib's threads only
wait for them. It is the engine of Hydra's own launcher, which itself would compose settings and
choose folders its own way, and knows nothing of going on with a run (decision 0060).
"""

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Literal

from filelock import FileLock, Timeout
from joblib import Parallel, delayed

from wmrobot.app.sweeping.plan import Run
from wmrobot.runtime.process import on_ending

COMMAND = (sys.executable, "-m", "wmrobot", "train")
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run.

    Attributes:
        run: The run.
        state: How it ended; `waiting` where a stop came before it began, `unfinished` where
            nobody has gone on with it yet.
        reason: Why it failed, in the run's own words.
    """

    run: Run
    state: Literal["finished", "failed", "interrupted", "unfinished", "waiting"]
    reason: str = ""


class Launcher:
    """Begins the runs of a sweep, goes on with begun ones, leaves finished ones alone.

    Args:
        jobs: Runs at a time.
        command: What trains, before the words of a run.
    """

    def __init__(self, jobs: int, command: Sequence[str] = COMMAND) -> None:
        self.jobs, self.command = jobs, tuple(command)
        self._lock = RLock()
        self._stopped = False
        self._children: set[subprocess.Popen[bytes]] = set()

    def launch(self, runs: Iterable[Run]) -> Iterator[Outcome]:
        """Outcomes as they come. After `stop` those that are left come without having begun."""
        pool = Parallel(
            n_jobs=self.jobs,
            backend="threading",
            return_as="generator_unordered",
            pre_dispatch="all",
            batch_size=1,
        )
        yield from pool(delayed(self._train)(run) for run in runs)

    def stop(self) -> None:
        """Let no further run begin, and ask those that are running to save and leave."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.terminate()

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and SIGHUP stop the sweep; a second one leaves at once."""

        def ask(_: signal.Signals) -> None:
            if self._stopped:
                raise KeyboardInterrupt
            self.stop()

        with on_ending(ask):
            yield

    def _train(self, run: Run) -> Outcome:
        """One run, in a process of its own, from wherever it is to its end."""
        if not self._wait_until_free(run):
            return Outcome(run=run, state="waiting")
        if run.state() == "finished":
            return Outcome(run=run, state="finished")
        words = run.words if run.state() == "new" else (f"resume={run.folder}",)
        log = run.folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            begin = output.tell()  # after what earlier tries said
            child = self._start((*self.command, *words), output.fileno())
            if child is None:
                return Outcome(run=run, state="waiting")
            code = child.wait()
        with self._lock:
            self._children.discard(child)
        if code == 0 and run.state() == "finished":
            return Outcome(run=run, state="finished")
        if code == INTERRUPTED or (self._stopped and code < 0):
            return Outcome(run=run, state="interrupted")
        return Outcome(run=run, state="failed", reason=_reason(code, log, begin))

    def _start(self, command: Sequence[str], output: int) -> "subprocess.Popen[bytes] | None":
        """Start a process out of reach of the terminal's own Ctrl-C; None after a stop."""
        with self._lock:
            if self._stopped:
                return None
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._children.add(child)
            return child

    def _wait_until_free(self, run: Run) -> bool:
        """Wait for a process of an earlier, killed sweep that still trains this run."""
        is_told = False
        while not self._stopped:
            if not run.folder.exists():
                return True
            try:
                with FileLock(run.folder / ".lock", timeout=0.5):
                    return True
            except Timeout:
                if not is_told:
                    who = f"  {run.task}, seed {run.seed}"
                    print(f"{who}: another process still trains it; waiting", file=sys.stderr)
                is_told = True
        return False


def _reason(code: int, log: Path, begin: int) -> str:
    """Why a process failed: its own error in the log from byte `begin` on, or how it ended."""
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    if told:
        return told[-1].removeprefix("error: ")
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}; see {log}"
