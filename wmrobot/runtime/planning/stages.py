"""The planner in parts, for a loop that has to keep time.

Encode once, roll the latent forward through the actions already committed, stop after as many
iterations as there is time for.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np

from wmrobot.runtime.arrays import Array, FloatArray, IntArray, Obs
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.bundle.signatures import CHOOSE, ENCODE, PROPOSE, SEARCH, STEP
from wmrobot.runtime.planning.graph import Graph
from wmrobot.runtime.planning.noise import Noise
from wmrobot.runtime.planning.planner import Outputs, Previous


class Found(NamedTuple):
    """A search between two iterations.

    Attributes:
        mean: (B, H, A) centre of the next candidates.
        std: (B, H, A) their spread.
        elites: (B, K, H, A) the best candidates so far; of the last plan, (B, E, H, A).
        returns: (B, K) their estimated returns.
        weights: (B, K) what each counts in the mean.
        num_invalid: (B,) candidates of the last iteration that were not finite.
    """

    mean: FloatArray
    std: FloatArray
    elites: FloatArray
    returns: FloatArray
    weights: FloatArray
    num_invalid: IntArray


Proposals = dict[str, Array]
"""What the policy prior proposes, rolled out; goes from `propose` to `refine` as it is."""


class Stages:
    """The stage graphs of a bundle. Every method is pure.

    Args:
        bundle: Verified bundle.
        threads: Of onnxruntime.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        names = (ENCODE, PROPOSE, SEARCH, CHOOSE, STEP)
        self._graphs = {name: Graph(bundle, name, threads) for name in names}

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        threads: int = 1,
        expect_joints: Iterable[str] | None = None,
        expect_control_dt: float | None = None,
    ) -> Self:
        """Verify a bundle and load its stages; see `Planner.load`."""
        bundle = Bundle.read(
            folder, expect_joints=expect_joints, expect_control_dt=expect_control_dt
        )
        return cls(bundle, threads=threads)

    @property
    def description(self) -> Description:
        """What the planner was made for."""
        return self.bundle.description

    def encode(self, obs: Obs) -> FloatArray:
        """Latent (B, Z) of observations, frames stacked along C."""
        found = self._graphs[ENCODE]({f"obs_{name}": value for name, value in obs.items()})
        return cast("FloatArray", found["z"])

    def step(self, z: FloatArray, action: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Next latent (B, Z), reward (B,) and continuation (B,) after an action (B, A)."""
        found = self._graphs[STEP]({"z": z, "action": action})
        return cast("tuple[FloatArray, FloatArray, FloatArray]", tuple(found.values()))

    def propose(self, z: FloatArray, noise: Noise) -> Proposals:
        """What the prior proposes from a latent: once a decision."""
        terminal = noise.terminal[:, : noise.prior.shape[1]]
        feed = {"z": z, "noise_prior": noise.prior, "noise_terminal": terminal}
        return self._graphs[PROPOSE](feed)

    def begin(self, previous: Previous, decisions: int = 1) -> Found:
        """Where the search starts: the last plan so many decisions later, or zero."""
        sizes = self.description.search
        valid, zero = previous.valid[:, None, None], np.float32(0)
        mean = np.where(valid, _shift(previous.mean, decisions), zero)
        kept = np.where(valid[..., None], _shift(previous.elites, decisions), zero)
        batch = len(mean)
        return Found(
            mean=mean,
            std=np.full_like(mean, sizes.max_std),
            elites=kept,
            returns=np.zeros((batch, sizes.num_elites), np.float32),
            weights=np.zeros((batch, sizes.num_elites), np.float32),
            num_invalid=np.zeros(batch, np.int64),
        )

    def refine(
        self, z: FloatArray, found: Found, proposals: Proposals, noise: Noise, iteration: int
    ) -> Found:
        """One iteration, with its part of the noise."""
        feed: dict[str, Array] = {
            "z": z,
            "mean": found.mean,
            "std": found.std,
            "elites": found.elites[:, : self.description.search.num_kept],
            "noise_candidates": noise.candidates[iteration],
            "noise_terminal": noise.terminal[:, noise.prior.shape[1] :],
            "noise_heads": noise.heads[iteration],
            **proposals,
        }
        return Found(*self._graphs[SEARCH](feed).values())  # type: ignore[arg-type]

    def choose(self, found: Found) -> Outputs:
        """The plan that a search has come to, after at least one iteration."""
        feed = {"mean": found.mean, "returns": found.returns, "weights": found.weights}
        chosen = cast("dict[str, FloatArray]", self._graphs[CHOOSE](feed))
        return Outputs(
            action=chosen["action"],
            mean=found.mean,
            std=found.std,
            value=chosen["value"],
            spread=chosen["spread"],
            num_invalid=found.num_invalid,
            elites=found.elites[:, : self.description.search.num_kept],
        )

    def plan(self, obs: Obs, noise: Noise, previous: Previous) -> Outputs:
        """The whole plan by stages: what `Planner.plan` does in one graph.

        Args:
            obs: By modality, frames stacked.
            noise: Drawn for this plan.
            previous: What to start from.
        """
        z = self.encode(obs)
        proposals = self.propose(z, noise)
        found = self.begin(previous)
        for i in range(len(noise.candidates)):
            found = self.refine(z, found, proposals, noise, i)
        return self.choose(found)


def _shift(sequence: FloatArray, decisions: int) -> FloatArray:
    """The same actions (..., H, A) so many decisions later; what comes after them is zero."""
    shifted = np.zeros_like(sequence)
    if (left := sequence.shape[-2] - decisions) > 0:
        shifted[..., :left, :] = sequence[..., decisions:, :]
    return shifted
