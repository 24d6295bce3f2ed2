"""Whether the hot functions of a run are compiled, chosen once, at the edge.

`torch.compile` fuses what stands between the matrix products. It takes about a minute the first
time on a machine and seconds from then on: compiled code is kept in the user's cache folder.
"""

import gc
import os
import shutil
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch

from wmrobot.core.types import P, R

CompileChoice = bool | Literal["auto"]
PROGRAMS = 64
"""Most programs of one function. Shapes that are planned for make two each, and all planners are
one function to torch, which stops at 8: a bench of five numbers of robots could not be compiled."""
ADVICE = "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled"
"""How the compiler's advice to round products begins, on a GPU; fp32 is fp32 here."""
MIN_UPDATES = 10_000
"""Updates from which a run earns the first minute back, with `auto`; decision 0012."""


class Compilation:
    """Compiles functions, or leaves them as they are and says why.

    Args:
        choice: What the settings ask for; `auto` compiles long runs on a CPU.
        device: Where the model lives.
        updates: Gradient updates of the whole run.

    Attributes:
        on: Whether functions are compiled.
        told: What was chosen, in words.
    """

    def __init__(self, choice: CompileChoice, device: torch.device, updates: float) -> None:
        self.on, self.told = _choose(choice, device, updates)
        self._made: dict[Callable[..., Any], Callable[..., Any]] = {}
        # Kernels called from C++ instead of Python: a `nano` plan takes 12% less, an update 8%.
        # Without its patterns the compiler leaves a bias to the kernel that follows a product,
        # instead of copying it to where the product is added: 13% of a `nano` plan.
        options = {"cpp_wrapper": True, "pattern_matcher": False}
        self._options: dict[str, Any] = options if device.type == "cpu" else {}

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """The function, compiled once for each shape that it meets; the same for the same one."""
        if not self.on:
            return function
        if function not in self._made:
            self._made[function] = self._wrap(function)
        return cast("Callable[P, R]", self._made[function])

    def _wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        import torch._dynamo

        warnings.filterwarnings("ignore", ADVICE, UserWarning)
        torch._dynamo.config.recompile_limit = max(PROGRAMS, torch._dynamo.config.recompile_limit)
        torch._dynamo.config.trace_autograd_ops = True  # gradients are taken within an update's two
        # one shape is one program: with sizes left open the code is slower
        compiled = torch.compile(function, fullgraph=True, dynamic=False, options=self._options)

        def either(*args: P.args, **kwargs: P.kwargs) -> R:
            return (compiled if self.on else function)(*args, **kwargs)

        return either

    def rehearse(self, *calls: Callable[[], object]) -> None:
        """Make the calls that compile; where the compiler fails, all functions stay as they are.

        Args:
            *calls: Each leaves everything as it was.
        """
        if not self.on:
            return
        from torch._dynamo.exc import FailOnRecompileLimitHit, ShortenTraceback

        print(
            "  compiling, a minute or more the first time (compile=false goes without)",
            file=sys.stderr,
            flush=True,
        )
        begin = time.perf_counter()
        try:
            for call in calls:
                call()
        except (
            ShortenTraceback,
            FailOnRecompileLimitHit,
        ) as error:  # no Triton, too
            self.on = False
            cause = str(getattr(error, "inner_exception", error)).strip().splitlines()[0]
            self.told = f"not compiled: the compiler failed ({cause})"
            return
        # Compiling leaves half a million objects behind. Looking through them all stopped a run for
        # 0.7 s at a time on a busy machine; set aside, it takes less than a millisecond.
        gc.collect()
        gc.freeze()
        self.told = f"compiled in {time.perf_counter() - begin:.0f} s"


def _choose(choice: CompileChoice, device: torch.device, updates: float) -> tuple[bool, str]:
    if choice is False:
        return False, "not compiled, as asked"
    if choice == "auto" and device.type != "cpu":
        return False, f"not compiled: compile=true asks for it on {device.type}"
    if choice == "auto" and updates < MIN_UPDATES:
        return False, f"not compiled: fewer than {MIN_UPDATES:,} updates do not earn it back"
    if device.type == "cpu" and (missing := _missing()):
        return False, f"not compiled: {missing}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_cache_folder()))
    return True, "compiled"


def _missing() -> str:
    """What a C++ compiler lacks here, and which package brings it; empty where nothing."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return "no C++ compiler here (Debian: apt install g++)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "no Python headers here (Debian: apt install python3-dev)"
    return ""


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wmrobot" / "torchinductor"
