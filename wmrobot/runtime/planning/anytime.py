"""A search that starts from a latent rolled forward, and may be stopped after any iteration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from wmrobot.runtime.arrays import FloatArray, Obs
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.planning.noise import Noise, draw_noise, make_generator
from wmrobot.runtime.planning.planner import Outputs, Previous
from wmrobot.runtime.planning.stages import Found, Proposals

_T = TypeVar("_T")


class Planning(Protocol):
    """The stages of a planner: `wmrobot.runtime.Stages`, which tells what they do, or a test's."""

    @property
    def description(self) -> Description:
        """What the planner was made for."""
        ...

    def encode(self, obs: Obs) -> FloatArray:
        """Latent (1, Z)."""
        ...

    def step(self, z: FloatArray, action: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Next latent, reward, continuation."""
        ...

    def propose(self, z: FloatArray, noise: Noise) -> Proposals:
        """What the prior proposes."""
        ...

    def begin(self, previous: Previous, decisions: int = 1) -> Found:
        """Where the search starts."""
        ...

    def refine(
        self, z: FloatArray, found: Found, proposals: Proposals, noise: Noise, iteration: int
    ) -> Found:
        """One iteration."""
        ...

    def choose(self, found: Found) -> Outputs:
        """The plan."""
        ...


class Watch(Protocol):
    """Runs a stage, and may measure how long it takes."""

    def __call__(self, stage: str, run: Callable[[], _T]) -> _T:
        """Run one stage; return what it returns."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """All that a plan depends on, but weights and number of iterations.

    Attributes:
        state: (1, O) observed.
        committed: (L, A) actions that the motors execute before the plan takes effect.
        noise_seed: Of the plan's noise.
        previous: Plan that the search starts from.
        decisions: How many that one is shifted by.
    """

    state: FloatArray
    committed: FloatArray
    noise_seed: int
    previous: Previous
    decisions: int


def unwatched(stage: str, run: Callable[[], _T]) -> _T:
    """A watch that measures nothing."""
    del stage
    return run()


def draw(description: Description, seed: int) -> Noise:
    """Noise of one plan."""
    return draw_noise(description, 1, make_generator(seed))


def look_ahead(
    stages: Planning, state: FloatArray, committed: FloatArray, watch: Watch = unwatched
) -> FloatArray:
    """Latent (1, Z) once the committed actions (L, A) have been executed."""
    z = watch("encode", lambda: stages.encode({"state": state}))
    for action in committed:
        before = z
        z = watch("step", lambda: stages.step(before, action[None])[0])  # noqa: B023
    return z


def search(
    stages: Planning,
    start: Start,
    noise: Noise,
    goes_on: Callable[[int], bool],
    watch: Watch = unwatched,
) -> tuple[Outputs, int]:
    """Plan, for as long as `goes_on(iterations done)`, at least once.

    Args:
        stages: Of the planner.
        start: Where from.
        noise: Drawn from the seed that `start` tells.
        goes_on: Whether there is time for one more iteration.
        watch: Runs the stages.

    Returns:
        The plan, and the iterations that it took.
    """
    z = look_ahead(stages, start.state, start.committed, watch)
    proposals = watch("propose", lambda: stages.propose(z, noise))
    found = stages.begin(start.previous, start.decisions)
    done = 0
    while done < len(noise.candidates) and (done == 0 or goes_on(done)):
        found = watch("refine", lambda: stages.refine(z, found, proposals, noise, done))  # noqa: B023
        done += 1
    return watch("choose", lambda: stages.choose(found)), done


def prior_plan(
    stages: Planning, state: FloatArray, committed: FloatArray, noise: Noise
) -> FloatArray | None:
    """Actions (H, A) of the policy prior at its mean, from where the robot will be.

    None for a planner that the prior proposes nothing to.
    """
    if noise.prior.shape[1] == 0:
        return None
    z = look_ahead(stages, state, committed)
    still = noise._replace(prior=np.zeros_like(noise.prior))
    proposed = stages.propose(z, still)["proposed_actions"]
    actions: FloatArray = np.asarray(proposed, np.float32)[0, 0]
    return actions


def is_sound(plan: Outputs, description: Description) -> bool:
    """Whether a plan comes from at least one finite candidate, and is finite itself."""
    lost = plan.num_invalid[0] == description.search.num_samples
    return not lost and bool(np.isfinite(plan.mean).all())
