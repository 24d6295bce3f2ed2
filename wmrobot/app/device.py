"""The device, chosen once, and how this process uses the machine."""

import ctypes
import os
import platform
import time
from itertools import pairwise

import torch

from wmrobot.core.errors import ConfigError
from wmrobot.core.machine import cores
from wmrobot.nn.products import Precision

MOST_THREADS = 1024
BF16_CAPABILITY = (8, 0)
_TIMING_NOISE = 0.1
CROWDED = 1.5
"""Times as long on many threads as on one from which on it is told."""


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one, else the CPU; from here on it computes as it is told.

    Raises:
        ConfigError: The device asked for is not there.
    """
    _compute_exactly()
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


def _compute_exactly() -> None:
    """Let fp32 be fp32, bf16 be summed in fp32, and the same call give the same bits, on a GPU too.

    By default cuDNN rounds the factors of fp32 convolutions to TF32 and may choose algorithms that
    add in no certain order, after which no resumed run would be exact; cuBLAS may round partial
    sums of bf16 products to bf16. A CPU has none of this.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def onednn_multiplies(precision: Precision) -> bool:
    """Whether oneDNN is here, and multiplies in that precision on this CPU."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return precision == "fp32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_warning(device: torch.device, precision: Precision) -> str | None:
    """What to say where a precision costs time instead of saving it.

    On a CPU with AVX2 and no more, products in bf16 were measured to take 98 times as long as
    those in fp32 (512 x 512, one thread), convolutions 24 times. With AVX-512's units for bf16, but
    without AMX, an Intel Xeon took 1.9 times as long for a product of 2048 x 2048, while an AMD
    EPYC gains: there it is timed. GPUs of NVIDIA have units for bf16 from compute capability
    8.0 on, and before it compute it by other means.
    """
    if precision == "fp32":
        return None
    if device.type == "cpu" and not onednn_multiplies(precision):
        lacking, cost = "this CPU has no units for bf16", "is many times slower than fp32"
    elif device.type == "cpu" and (times := bf16_times_fp32()) > 1 + _TIMING_NOISE:
        lacking = f"a product in bf16 takes this CPU {times:.1f} times as long as one in fp32"
        cost = "costs time"
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) < BF16_CAPABILITY:
        major, minor = torch.cuda.get_device_capability(device)
        lacking = f"this GPU has no units for bf16 (compute capability {major}.{minor}, below 8.0)"
        cost = "saves no time"
    else:
        return None
    return f"warning: {lacking}, so model.precision=bf16 {cost} here; set model.precision=fp32"


def bf16_times_fp32() -> float:
    """How many times as long a product in bf16 takes on this CPU; the shortest of some calls."""
    shortest = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.rand(2, 1024, 1024).to(dtype).unbind(0)
        moments = [time.perf_counter()]
        for _ in range(6):  # the first of which makes the code
            a @ b
            moments.append(time.perf_counter())
        shortest[dtype] = min(end - begin for begin, end in pairwise(moments))
    return shortest[torch.bfloat16] / shortest[torch.float32]


def crowding_warning(threads: int) -> str | None:
    """What to say where torch's threads are slower than one: another program has a core.

    Threads wait for each other hundreds of times in an update. Beside one busy process on two
    cores, where a thread may not run for milliseconds, a `nano` plan was seen to take 15 to 260 ms
    on two threads, and 10 on one.
    """
    if threads == 1:
        return None
    many = _small_operations_s()
    torch.set_num_threads(1)
    one = _small_operations_s()
    torch.set_num_threads(threads)
    if many < CROWDED * one:
        return None
    return (
        f"warning: another program keeps a core of this machine busy: {threads} threads take "
        f"{many / one:.1f} times as long as one for small operations; threads=1 is faster beside it"
    )


def _small_operations_s() -> float:
    """[s] of operations that are just large enough to be shared by two threads."""
    x = torch.ones(128, 512)
    for _ in range(10):
        torch.nn.functional.mish(x)
    begin = time.perf_counter()
    for _ in range(200):
        torch.nn.functional.mish(x)
    return time.perf_counter() - begin


def set_threads(threads: int) -> int:
    """Give torch that many threads; return the number.

    0 means as many as `OMP_NUM_THREADS` says, or else one for each usable core.

    Raises:
        ConfigError: The number is negative, or far beyond what any machine can start.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads: expected 0 to {MOST_THREADS}, got {threads}")
    told = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(told) if told.isdecimal() else 0) or cores()
    torch.set_num_threads(count)
    return count


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
