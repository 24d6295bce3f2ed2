"""Processes that a drive starts, and ends: the guard, and a simulated robot."""

import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Self

from wmrobot.core.errors import ConfigError

GUARD, SIMULATION = "wmrobot.runtime.guard", "wmrobot.app.driving.sim_robot"
NAMES = {GUARD: "the guard", SIMULATION: "the simulated robot"}
PATIENCE_S = 60.0
"""[s] MuJoCo and its tasks take seconds to import on a busy machine"""
HOST = "127.0.0.1"


class Crew:
    """Python processes of ours, stopped on the way out in the reverse order."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors: dict[str, IO[bytes]] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def start(self, module: str, settings: Mapping[str, object]) -> tuple[str, int]:
        """Start a process, wait until it is ready; returns its address.

        Args:
            module: To run.
            settings: Of its command line.

        Raises:
            ConfigError: It does not start; its own words say why.
        """
        told = {**settings, "exit_with_stdin": True}  # we hold it: nobody outlives us
        words = [f"{name}={_word(value)}" for name, value in told.items()]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `dismiss`
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is ours: they are to stop after the planner has
        )
        self._processes.append(process)
        self._errors[module] = errors
        line = _first_line(process)
        try:
            return HOST, int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            self.dismiss()
            lines = self.said(module)
            reason = lines[-1].removeprefix("error: ") if lines else "nothing"
            raise ConfigError(f"{NAMES.get(module, module)} did not start: {reason}") from None

    def said(self, module: str) -> list[str]:
        """Lines that a process wrote to stderr, once it has been dismissed."""
        return self._said.get(module, "").splitlines()

    def dismiss(self) -> None:
        """End all processes, the last one first."""
        for process in reversed(self._processes):
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=3.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()
        for module, file in self._errors.items():
            file.seek(0)
            self._said[module] = file.read().decode(errors="replace").strip()
            file.close()
        self._errors.clear()


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _first_line(process: "subprocess.Popen[bytes]") -> bytes:
    """First line of a process's stdout; what there is of it when it ends or takes too long."""
    assert process.stdout is not None
    end, line = time.monotonic() + PATIENCE_S, b""
    while not line.endswith(b"\n") and (left := end - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
            if not piece:
                break
            line += piece
    return line
