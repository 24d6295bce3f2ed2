"""The device, chosen once, and how this process uses the machine."""

import ctypes
import os
import platform

import torch

from wmrobot.core.errors import ConfigError
from wmrobot.nn.products import Precision

MOST_THREADS = 1024


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The device asked for is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[name]:
        known = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(f"device: expected one that this machine has ({known}), got {name}")
    return torch.device(name)


def onednn_multiplies(precision: Precision) -> bool:
    """Whether oneDNN is here, and multiplies in that precision on this CPU."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return precision == "fp32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_warning(device: torch.device, precision: Precision) -> str | None:
    """What to say where a precision costs time instead of saving it.

    On a CPU with AVX2 and no more, products in bf16 were measured to take 98 times as long as
    those in fp32 (512 x 512, one thread), convolutions 24 times.
    """
    if device.type != "cpu" or precision == "fp32" or onednn_multiplies(precision):
        return None
    return (
        "warning: this CPU has no units for bf16, so model.precision=bf16 is many times slower "
        "than fp32 here; set model.precision=fp32"
    )


def set_threads(threads: int) -> int:
    """Give torch that many threads, 0 meaning one for each usable core; return the number.

    Raises:
        ConfigError: The number is negative, or far beyond what any machine can start.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads: expected 0 to {MOST_THREADS}, got {threads}")
    count = threads or _usable_cores()
    torch.set_num_threads(count)
    return count


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of mapping fresh pages for every tensor.

    Measured on 2 cores, nano: update 21.8 to 19.1 ms, plan of 10 robots 138 to 82 ms.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_threshold, 2**30)
