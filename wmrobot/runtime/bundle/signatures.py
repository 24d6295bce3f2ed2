"""Inputs and outputs of every graph of a bundle, in order. Written once, for exporter and runtime.

A dimension is a number, or `B` where the bundle takes any number of robots.
"""

from collections.abc import Mapping
from typing import NamedTuple

from wmrobot.runtime.bundle.description import Description

Shape = tuple[int | str, ...]


class Port(NamedTuple):
    """One tensor that goes into a graph or comes out of it."""

    name: str
    dtype: str
    shape: Shape


class Signature(NamedTuple):
    """Inputs and outputs of one graph."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


PLANNER, POLICY = "planner.onnx", "policy.onnx"
ENCODE, PROPOSE, STEP = "encode.onnx", "propose.onnx", "step.onnx"
SEARCH, CHOOSE = "search.onnx", "choose.onnx"
BEGIN = "begin.onnx"
"""A part of `planner.onnx` that has no file of its own: it is three lines of numpy."""


def signatures(description: Description) -> Mapping[str, Signature]:
    """Signature of every graph file, and of `BEGIN`."""
    sizes, action_dim = description.search, description.action_dim
    batch: int | str = "B" if description.batch is None else description.batch
    num_prior, num_drawn = sizes.num_prior, sizes.num_samples - sizes.num_prior

    def real(name: str, *shape: int | str) -> Port:
        return Port(name, "float32", (batch, *shape))

    def sequence(name: str, *lead: int) -> Port:
        return real(name, *lead, sizes.horizon, action_dim)

    def elites(name: str) -> tuple[Port, ...]:
        return (sequence(name, sizes.num_kept),) if sizes.num_kept else ()

    obs = _observations(description, batch)
    z, heads = real("z", sizes.latent_dim), Port("noise_heads", "int64", (2,))
    valid, invalid = Port("prev_valid", "bool", (batch,)), Port("num_invalid", "int64", (batch,))
    mean, std = sequence("mean"), sequence("std")
    previous = (sequence("prev_mean"), valid, *elites("prev_elites"))
    prior = sequence("noise_prior", num_prior)
    found = (real("returns", sizes.num_elites), real("weights", sizes.num_elites))
    proposed = (
        sequence("proposed_actions", num_prior),
        real("proposed_earned", num_prior),
        real("proposed_weight", num_prior),
        real("proposed_z", num_prior, sizes.latent_dim),
        real("proposed_terminal", num_prior, action_dim),
    )
    candidates = sequence("noise_candidates", num_drawn)
    terminal = real("noise_terminal", num_drawn, action_dim)
    chosen = real("action", action_dim), real("value"), real("spread")
    all_candidates = Port(candidates.name, "float32", (sizes.iterations, *candidates.shape))
    plain_obs = (Port("obs", *obs[0][1:]),) if len(obs) == 1 else obs
    return {
        ENCODE: Signature(obs, (z,)),
        PROPOSE: Signature((z, prior, real("noise_terminal", num_prior, action_dim)), proposed),
        BEGIN: Signature(previous, (mean, std, *elites("elites"))),
        SEARCH: Signature(
            (z, mean, std, *elites("elites"), *proposed, candidates, terminal, heads),
            (
                sequence("next_mean"), sequence("next_std"),
                sequence("next_elites", sizes.num_elites), *found, invalid,
            ),
        ),
        CHOOSE: Signature((mean, *found), chosen),
        STEP: Signature(
            (z, real("action", action_dim)),
            (real("next_z", sizes.latent_dim), real("reward"), real("continuation")),
        ),
        POLICY: Signature(plain_obs, (real("actions", action_dim),)),
        PLANNER: Signature(
            (
                *obs, *previous, all_candidates, prior,
                real("noise_terminal", sizes.num_samples, action_dim),
                Port("noise_heads", "int64", (sizes.iterations, 2)),
            ),
            (chosen[0], mean, std, *chosen[1:], invalid, *elites("elites")),
        ),
    }  # fmt: skip


def _observations(description: Description, batch: int | str) -> tuple[Port, ...]:
    """One input a modality, sorted by name; frames are stacked along the channels."""
    ports = []
    if (pictures := description.pictures) is not None:
        channels, *size = pictures.shape
        shape = (batch, channels * pictures.frame_stack, *size)
        ports.append(Port("obs_rgb", "uint8", shape))
    if description.state is not None:
        ports.append(Port("obs_state", "float32", (batch, description.state.dim)))
    return tuple(ports)
