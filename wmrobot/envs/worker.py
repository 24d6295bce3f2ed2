"""Rows of a `VectorEnv` in a process of their own.

Processes are spawned, never forked: a fork after an OpenGL context exists hangs. Parent and child
talk through a pipe: (method, arguments) there, the result, or the user's error, back.
"""

import atexit
import multiprocessing
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from wmrobot.core.errors import TaskError, WmrobotError
from wmrobot.envs.rows import EnvOptions, Rows
from wmrobot.runtime.process import leave_endings_to_others

CLOSE_TIMEOUT = 5.0  # [s]


class Worker:
    """A process that holds some rows. Send to all workers first, then receive from each.

    Args:
        name: Any accepted spelling of a task's name.
        indices: Rows that this process holds.
        seed: Seed of the whole batch.
        options: See `make_env`.
    """

    def __init__(self, name: str, indices: Sequence[int], seed: int, options: EnvOptions) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._label = f"{name}: the process of environments {indices[0]} to {indices[-1]}"
        self._process = context.Process(
            target=_serve, args=(theirs, name, tuple(indices), seed, options), daemon=True
        )
        self._process.start()
        theirs.close()  # so that a dead child is the end of the file, not silence
        # It ignores the signal by which multiprocessing would end it at exit, and wait forever.
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def send(self, method: str, *arguments: Any) -> None:
        """Ask for one method of `Rows`; that the process is dead is told by `receive`."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send((method, arguments))

    def receive(self) -> Any | WmrobotError:
        """The answer to the oldest question, or what went wrong there: an error to raise."""
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._death()

    def close(self) -> None:
        """End the process: kindly, then not."""
        atexit.unregister(self._at_exit)
        if not self._pipe.closed:
            self.send("close")
            self._pipe.close()
        self._process.join(CLOSE_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> TaskError:
        self._process.join(CLOSE_TIMEOUT)
        return TaskError(
            f"{self._label} died (exit code {self._process.exitcode}), its last words are above; "
            "expected it to live: run with workers=0 to see the error in place, and start scripts "
            "under `if __name__ == '__main__':`"
        )


def _close(worker: "weakref.ref[Worker]") -> None:
    if (alive := worker()) is not None:
        alive.close()


def _serve(
    pipe: Connection, name: str, indices: Sequence[int], seed: int, options: EnvOptions
) -> None:
    """Answer until told to close, or until the parent is gone."""
    leave_endings_to_others()  # the parent saves first
    try:
        rows = Rows(name, indices, seed, **options)
    except WmrobotError as error:
        pipe.send(error)
        return
    pipe.send(rows.task_spec)
    try:
        while (request := _next(pipe)) is not None:
            method, arguments = request
            try:
                answer = getattr(rows, method)(*arguments)
            except WmrobotError as error:
                answer = error
            with suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it any more
                pipe.send(answer)
    finally:
        rows.close()


def _next(pipe: Connection) -> tuple[str, tuple[Any, ...]] | None:
    try:
        request: tuple[str, tuple[Any, ...]] = pipe.recv()
    except (EOFError, ConnectionResetError):
        return None
    return None if request[0] == "close" else request
