"""Task functions found in Python files: our own in `tasks/`, and any user's, wherever it lies."""

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from wmrobot.core.errors import TaskError, unknown
from wmrobot.core.files import user_path
from wmrobot.core.resources import resource_folder
from wmrobot.envs.task import INFO_ATTRIBUTE, TaskInfo

USER_CODE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What code that somebody else wrote may raise, malformed MJCF (`ValueError`) included."""


def own_tasks() -> dict[str, tuple[Path, str]]:
    """Canonical name -> file and function of each task in `tasks/`, without importing any.

    A task is a function with the decorator `@task` or `@task(...)`; its name has `-` for `_`.
    """
    return {
        function.replace("_", "-"): (path, function)
        for path in sorted(resource_folder("tasks").glob("*.py"))
        for function in _marked_functions(path, path.stat().st_mtime_ns)
    }


@lru_cache(maxsize=256)
def _marked_functions(path: Path, _mtime_ns: int) -> tuple[str, ...]:
    return tuple(node.name for node in _definitions(path) if any(map(_marks, node.decorator_list)))


def _definitions(path: Path) -> Iterator[ast.FunctionDef]:
    """Functions that a file defines, as they are written."""
    body = ast.parse(path.read_text(encoding="utf-8"), str(path)).body
    return (node for node in body if isinstance(node, ast.FunctionDef))


def _marks(decorator: ast.expr) -> bool:
    """Whether a decorator is `task` or `<module>.task`, called or not."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(called, ast.Attribute):
        return called.attr == "task"
    return isinstance(called, ast.Name) and called.id == "task"


def _takes_seed(node: ast.FunctionDef) -> bool:
    """Whether a public function's first argument is called a seed."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    return not node.name.startswith("_") and bool(arguments) and "seed" in arguments[0].arg


class Blame:
    """Turns what somebody else's code raises into one line that names the file's place.

    Args:
        label: Whose code it is.
        path: File whose lines are worth naming.
    """

    def __init__(self, label: str, path: Path) -> None:
        self._label = label
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if isinstance(error, USER_CODE_ERRORS):
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == str(self._path)]
            where = f" (line {lines[-1]})" if lines else ""
            message = " ".join(str(error).split())
            raise TaskError(f"{self._label}: {type(error).__name__}: {message}{where}") from error


class TaskFunction:
    """A function `(seed) -> environment` of a file, and what the file says of it."""

    def __init__(self, path: Path, function: str) -> None:
        self._path = path
        self.blame = Blame(f"{path}:{function}", path)
        module = _load(path)
        factory = getattr(module, function, None)
        if not callable(factory):
            known = _functions(module)
            raise TaskError(f"{path}: {unknown('function', function, known)}")
        self._factory: Callable[[int], Any] = factory
        self.info: TaskInfo = getattr(factory, INFO_ATTRIBUTE, TaskInfo())

    def __call__(self, seed: int) -> Any:
        """Build the environment.

        Raises:
            TaskError: The function failed; the cause is named in one line.
        """
        with self.blame, _importable(self._path.parent):
            return self._factory(seed)


def find_task_function(path: Path, function: str) -> TaskFunction:
    """The task `function` of the file `path`; a relative path starts at the working directory.

    Raises:
        TaskError: There is no such file, it cannot be imported, or it lacks the function.
    """
    return TaskFunction(_existing(path), function)


def held_tasks(path: Path) -> tuple[str, ...]:
    """Task functions of a file: those marked `@task`; without any, those that take a seed.

    The file is read, not imported.

    Raises:
        TaskError: There is no such file, it is not Python, or it holds no task function.
    """
    path = _existing(path)
    with Blame(f"{path}: cannot be imported", path):
        marked = _marked_functions(path, path.stat().st_mtime_ns)
        held = marked or tuple(node.name for node in _definitions(path) if _takes_seed(node))
    if not held:
        raise TaskError(
            f"{path}: expected a task function, found none; "
            "define one that takes a seed and returns an environment"
        )
    return held


def _existing(path: Path) -> Path:
    path = user_path(path).resolve()
    if not path.is_file():
        raise TaskError(f"{path}: expected a Python file with a task function, found no such file")
    return path


def _load(path: Path) -> ModuleType:
    return _load_version(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load_version(path: Path, _mtime_ns: int) -> ModuleType:
    """Import a file once for as long as it does not change."""
    name = f"wmrobot_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: expected a Python file (.py), got another kind")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with Blame(f"{path}: cannot be imported", path), _importable(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let code import its siblings, as `python file.py` would."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _functions(module: ModuleType) -> list[str]:
    """Names that a user may have meant: public functions defined in the file itself."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and not isinstance(value, type)
        and getattr(value, "__module__", None) == module.__name__
    ]
