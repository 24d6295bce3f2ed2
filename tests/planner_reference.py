"""CEM, iCEM and MPPI written once more: NumPy, one robot and one candidate at a time.

Shares nothing with `wmrobot.plan` and works in double precision. It follows the papers' pseudocode
(de Boer et al. 2005; Pinneri et al. 2020; Hansen et al. 2024, appendix), on given noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def step(z: Array, action: Array) -> tuple[Array, float, float]:
    """`doubles.Everything.step`."""
    z = 0.9 * z + 0.5 * action
    return z, float(np.sum(0.3 * action - z**2)), 0.3 if z[0] > 0.6 else 0.95


def value(z: Array, action: Array, heads: NDArray[np.int64]) -> float:
    """`doubles.Everything.value`."""
    return float(np.mean([(head + 1) * np.dot(z, action) for head in heads]))


def propose(z: Array, eps: Array) -> Array:
    """`doubles.Everything.propose`."""
    return np.tanh(0.3 * eps - 0.5 * z)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the settings say."""

    iterations: int
    num_samples: int
    num_elites: int
    num_kept: int
    min_std: float
    max_std: float
    inverse_temperature: float | None  # None weighs elites alike
    value_lambda: float


def imagined_return(
    z: Array, actions: Array, terminal: Array, heads: NDArray[np.int64], value_lambda: float
) -> float:
    """The mean of the returns that end at each depth, as Bhardwaj et al. 2021 weigh them."""
    total, alive = 0.0, 1.0
    by_depth = []
    for action in actions:
        by_depth.append(total + alive * value(z, action, np.arange(5)))
        z, reward, continuation = step(z, action)
        total += alive * reward
        alive *= continuation
    by_depth.append(total + alive * value(z, propose(z, terminal), heads))
    weights = (1 - value_lambda) * value_lambda ** np.arange(len(by_depth))
    weights[-1] = value_lambda ** len(actions)
    return float(np.dot(weights, by_depth))


def one_later(actions: Array) -> Array:
    return np.vstack([actions[1:], np.zeros_like(actions[:1])])


def prior_actions(z: Array, noise: Array) -> Array:
    actions = np.zeros_like(noise)
    for t, eps in enumerate(noise):
        actions[t] = propose(z, eps)
        z, _, _ = step(z, actions[t])
    return actions


def _competes(actions: Array, before: list[Array], num_prior: int, num_kept: int) -> bool:
    """Whether a kept candidate equals one that stands before it."""
    is_kept = num_prior <= len(before) < num_prior + num_kept
    return is_kept and any(np.array_equal(actions, each) for each in before)


def plan_one(
    z: Array, warm: dict[str, Any], noise: dict[str, Any], sizes: Sizes
) -> dict[str, Array]:
    """Plan for one robot.

    Args:
        z: (Z,) where it is.
        warm: Its row of the last plan: `mean`, `elites`, `valid`.
        noise: Its row of the noise: `candidates` (I, N - P, H, A), `prior`, `terminal`, `heads`,
            `pick`.
        sizes: Settings.
    """
    horizon, action_dim = warm["mean"].shape
    mean = one_later(warm["mean"]) if warm["valid"] else np.zeros((horizon, action_dim))
    std = np.full((horizon, action_dim), sizes.max_std)
    kept = [
        one_later(elite) if warm["valid"] else mean for elite in warm["elites"][: sizes.num_kept]
    ]
    proposals = [prior_actions(z, eps) for eps in noise["prior"]]
    for i in range(sizes.iterations):
        missing = sizes.num_samples - len(proposals) - len(kept)
        drawn = [np.clip(mean + std * eps, -1.0, 1.0) for eps in noise["candidates"][i][:missing]]
        candidates = [*proposals, *kept, *drawn]
        returns = np.array(
            [
                -np.inf  # what was kept and competes already, as a proposal or as another elite
                if _competes(actions, candidates[:n], len(proposals), len(kept))
                else imagined_return(
                    z, actions, noise["terminal"][n], noise["heads"][i], sizes.value_lambda
                )
                for n, actions in enumerate(candidates)
            ]
        )
        order = np.argsort(-returns, kind="stable")[: sizes.num_elites]
        chosen_elites = [candidates[n] for n in order]
        elites, best = np.stack(chosen_elites), returns[order]
        if sizes.inverse_temperature is None:
            weights = np.full(len(best), 1 / len(best))
        else:
            weights = np.exp(sizes.inverse_temperature * (best - best[0]))
            weights /= weights.sum()
        mean = np.tensordot(weights, elites, axes=1)
        std = np.sqrt(np.tensordot(weights, (elites - mean) ** 2, axes=1))
        std = np.clip(std, sizes.min_std, sizes.max_std)
        kept = chosen_elites[: sizes.num_kept]
    chosen = int(np.argmax(np.log(weights) + noise["pick"]))
    return {
        "mean": mean,
        "std": std,
        "elites": elites,
        "action": elites[chosen, 0],
        "value": np.dot(weights, best),
    }
