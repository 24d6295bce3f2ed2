"""The control loop's end of a window: open it, publish to it, hear what people do, close it."""

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wmrobot.core.errors import ConfigError, DataError, MissingExtraError
from wmrobot.view.hosts import LOOPBACK
from wmrobot.view.layout import Layout
from wmrobot.view.mailbox import Mailbox
from wmrobot.view.packet import pack

if TYPE_CHECKING:
    import mujoco

START_TIMEOUT = 180.0  # [s] a crowded machine takes its time
CLOSE_TIMEOUT = 5.0  # [s]
DIED = "the window's process ended before it began; its last words are above"
MOST_COMMANDS = 32  # heard at once; the others wait for the next call


class Window:
    """A window in a process of its own. Once it is open, nothing here ever waits for it.

    It starts when it is made, so that it is ready by the time that a controller is loaded.

    Args:
        host: Where it listens.
        port: Where it would like to; where that is taken, the next free one it is.

    Raises:
        MissingExtraError: A package of `[view]` is not installed.
        OSError: There is no room in memory for what it is told.
    """

    def __init__(self, *, host: str = LOOPBACK, port: int = 8080) -> None:
        check_extra()
        self.host, self.wanted = host, port
        self.link, self.port = "", 0
        shared = Path("/dev/shm")
        self.folder = Path(
            tempfile.mkdtemp(prefix="wmrobot-view-", dir=shared if shared.is_dir() else None)
        )
        try:
            self._mailbox = Mailbox(self.folder / "mailbox", create=True)
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._num_models = 0
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(str(self.folder), theirs, (host, port)), daemon=True
        )
        self._process.start()
        theirs.close()

    def open(self, layout: Layout) -> str:
        """Build the page; returns its link, token included.

        Raises:
            ConfigError: It could not listen there.
        """
        try:
            self._pipe.send(layout)
            told = self._first_words()
        except (BrokenPipeError, ConnectionResetError):
            told = {"error": DIED}
        if "error" in told:
            raise ConfigError(f"view: cannot listen at {self.host}:{self.wanted}: {told['error']}")
        self.link, self.port = str(told["url"]), int(told["port"])
        return self.link

    def _first_words(self) -> dict[str, Any]:
        try:
            if self._pipe.poll(START_TIMEOUT):
                words: dict[str, Any] = json.loads(self._pipe.recv_bytes())
                return words
        except EOFError:
            pass
        return {"error": DIED}

    @property
    def is_open(self) -> bool:
        """Whether its process lives."""
        return self._process.is_alive()

    def publish(self, message: Mapping[str, Any]) -> None:
        """Show something; see `layout`. What is not looked at in time is overwritten."""
        self._mailbox.write(pack(message))

    def publish_model(self, model: "mujoco.MjModel") -> int:
        """Write a model for the window to load; returns the number that messages name it by.

        Raises:
            DataError: There is no room for it.
        """
        import mujoco

        from wmrobot.view.page.stage import model_path

        self._num_models += 1
        path = model_path(self.folder, self._num_models)
        mujoco.mj_saveModel(model, str(path), None)  # says nothing where the disk is full
        size = mujoco.mj_sizeModel(model)
        if not path.exists() or path.stat().st_size != size:
            raise DataError(
                f"view: expected room for a model of {size / 1e6:.0f} MB in {self.folder}"
            )
        model_path(self.folder, self._num_models - 2).unlink(missing_ok=True)
        return self._num_models

    def commands(self) -> list[tuple[str, Any]]:
        """What people have done since the last call: names and values, oldest first."""
        heard: list[tuple[str, Any]] = []
        try:
            while len(heard) < MOST_COMMANDS and self._pipe.poll(0):
                name, value = json.loads(self._pipe.recv_bytes())
                heard.append((str(name), value))
        except (EOFError, OSError):
            pass
        return heard

    def close(self) -> None:
        """End the process: kindly, then not."""
        self._pipe.close()
        self._process.join(CLOSE_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._mailbox.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_extra() -> None:
    """Refuse to go on without the packages of `[view]`.

    Raises:
        MissingExtraError: One is not installed.
    """
    for package in ("viser", "mjviser"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"the window needs wmrobot[view] ({package} is not installed): "
                'pip install ".[view]" in its checkout'
            )


def _serve(folder: str, pipe: Connection, address: tuple[str, int]) -> None:
    """Import what is heavy in the new process alone."""
    from wmrobot.view.page.server import serve

    serve(folder, pipe, address)
