"""Recorded plans of a bundle: what went in, and what PyTorch made of it.

`golden.npz` holds (T, B, ...) arrays, T decisions of B robots in a row. Of the noise it holds the
seeds alone, and a hash of what they gave: a numpy that draws other numbers is told from a planner
that plans otherwise. Of pictures it holds the newest frames, and which of them are an episode's
first.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wmrobot.runtime.arrays import Array, FloatArray, Obs
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.folder import GOLDEN, Bundle
from wmrobot.runtime.errors import BundleError
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.runtime.planning.noise import Noise, draw_noise, make_generator
from wmrobot.runtime.planning.planner import Outputs, Previous

Plan = Callable[[Obs, Noise, Previous], Outputs]


class Tick(NamedTuple):
    """One recorded decision of B robots: arguments of `Planner.plan`, and PyTorch's answer."""

    obs: Obs
    noise: Noise
    previous: Previous
    expected: Outputs


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Largest absolute differences to the recorded plans, one entry each decision and robot.

    Attributes:
        mean: (T, B) of the plan's mean.
        std: (T, B) of its std.
        value: (T, B) of the value, over 1 or the value's own size where that is larger.
        spread: (T, B) of the spread, likewise.
        num_invalid: (T, B) of the candidates that were not finite.
    """

    mean: FloatArray
    std: FloatArray
    value: FloatArray
    spread: FloatArray
    num_invalid: FloatArray


class Golden:
    """Recorded decisions.

    Args:
        description: Of the planner.
        arrays: As `pack` made them.
    """

    def __init__(self, description: Description, arrays: Mapping[str, Array]) -> None:
        self.description, self.arrays = description, arrays

    def __len__(self) -> int:
        return len(self.arrays["seed"])

    def ticks(self) -> Iterator[Tick]:
        """The decisions, in order.

        Raises:
            BundleError: This numpy draws other noise than the one that recorded.
        """
        pictures = self.description.pictures
        frames = FrameStack(1 if pictures is None else pictures.frame_stack)
        digest = hashlib.sha256()
        a = self.arrays
        for t in range(len(self)):
            obs = {name: a[f"obs_{name}"][t] for name in self.description.obs_shapes}
            batch = len(a["fresh"][t])
            noise = draw_noise(self.description, batch, make_generator(int(a["seed"][t])))
            hash_noise(digest, noise)
            frames.reset(np.flatnonzero(a["fresh"][t]))
            previous = Previous(*(a[f"prev_{name}"][t] for name in Previous._fields))
            expected = Outputs(*(a[f"out_{name}"][t] for name in Outputs._fields))
            yield Tick(frames.push(obs), noise, previous, expected)
        if digest.digest() != a["noise_sha256"].tobytes():
            raise BundleError(
                f"{GOLDEN}: numpy {np.__version__} draws other noise than the numpy that recorded; "
                f"compare with numpy {self.description.document['made']['packages']['numpy']}"
            )


def pack(
    ticks: Sequence[Tick], newest: Sequence[Obs], fresh: Sequence[Array], seeds: Sequence[int]
) -> dict[str, Array]:
    """Arrays that hold recorded decisions.

    Args:
        ticks: The decisions.
        newest: Their observations, of pictures the newest frame.
        fresh: (B,) each: rows whose observation is their episode's first.
        seeds: Of each one's noise.
    """
    digest = hashlib.sha256()
    for tick in ticks:
        hash_noise(digest, tick.noise)
    arrays: dict[str, Array] = {
        "seed": np.array(seeds, dtype=np.int64),
        "fresh": np.stack(list(fresh)),
        "noise_sha256": np.frombuffer(digest.digest(), dtype=np.uint8),
    }
    for name in newest[0]:
        arrays[f"obs_{name}"] = np.stack([obs[name] for obs in newest])
    for name in Previous._fields:
        arrays[f"prev_{name}"] = np.stack([getattr(tick.previous, name) for tick in ticks])
    for name in Outputs._fields:
        arrays[f"out_{name}"] = np.stack([getattr(tick.expected, name) for tick in ticks])
    return arrays


def dump(arrays: Mapping[str, Array]) -> bytes:
    """Contents of `golden.npz`."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read_golden(bundle: Bundle) -> Golden:
    """The decisions that a bundle holds.

    Raises:
        BundleError: It holds none, or others than its description leads to.
    """
    if GOLDEN not in bundle.files:
        raise BundleError(f"{bundle.folder}: expected {GOLDEN}, found none; export it again")
    description = bundle.description
    names = [
        "seed", "fresh", "noise_sha256", *(f"obs_{name}" for name in description.obs_shapes),
        *(f"prev_{name}" for name in Previous._fields),
        *(f"out_{name}" for name in Outputs._fields),
    ]  # fmt: skip
    try:
        with np.load(io.BytesIO(bundle.files[GOLDEN]), allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{GOLDEN}: expected recorded plans, got something else ({error})"
        ) from None
    return Golden(description, arrays)


def compare(plan: Plan, golden: Golden) -> Comparison:
    """Plan every recorded decision again, and tell how far each answer is from PyTorch's."""
    return measure([(tick.expected, plan(*tick[:3])) for tick in golden.ticks()])


def measure(pairs: Sequence[tuple[Outputs, Outputs]]) -> Comparison:
    """Differences of answers to what was expected, both in order of the decisions."""

    def largest(name: str, *, relative: bool = False) -> FloatArray:
        rows = []
        for expected, got in pairs:
            a, b = (np.asarray(getattr(each, name), np.float64) for each in (expected, got))
            scale = np.maximum(np.abs(a), 1.0) if relative else 1.0
            rows.append((np.abs(a - b) / scale).reshape(len(a), -1).max(axis=1))
        return np.stack(rows).astype(np.float32)

    return Comparison(
        mean=largest("mean"),
        std=largest("std"),
        value=largest("value", relative=True),
        spread=largest("spread", relative=True),
        num_invalid=largest("num_invalid"),
    )


def hash_noise(digest: "hashlib._Hash", noise: Noise) -> None:
    """Add one decision's noise to a hash."""
    for value in noise:
        digest.update(np.ascontiguousarray(value).tobytes())
