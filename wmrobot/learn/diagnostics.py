"""What a learned model gets right, in figures. Pure functions; nothing here changes a model."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wmrobot.core.types import LatentModel, Plan
from wmrobot.data.batch import Batch

REST = 0.05
"""Share of a discounted return that may lie beyond an episode's cut for it to count as known."""
_LEAST_SPREAD = 1e-8  # variance below which latents are all the same


class OpenLoop(NamedTuple):
    """Errors of imagining H decisions ahead without looking again, by decision.

    NaN where no episode lasts so long.

    Attributes:
        latent: (H,) squared error of the latent, as a share of the latents' variance: 0 is exact,
            1 as bad as always predicting their mean. NaN where they do not vary.
        reward: (H,) mean absolute error of the reward.
    """

    latent: Tensor
    reward: Tensor


class ValueBias(NamedTuple):
    """Estimated values beside the returns that came.

    Attributes:
        value: Mean estimate.
        target: Mean return, discounted.
        bias: Mean estimate less mean return: above 0 where values are over-estimated.
        error: Root of the mean squared difference.
        correlation: Of estimates and returns; NaN where either is constant.
        num_decisions: How many were compared.
    """

    value: float
    target: float
    bias: float
    error: float
    correlation: float
    num_decisions: int


@torch.no_grad()
def open_loop_error(model: LatentModel, seen: Tensor, batch: Batch) -> OpenLoop:
    """Imagine the batch's own actions from its first observations, and compare with what came.

    Args:
        model: World model; only `step` is asked.
        seen: (H + 1, B, Z) latents of the batch's observations.
        batch: H decisions; those whose mask is 0 do not count.
    """
    z = seen[0]
    latent, reward = [], []
    for t, action in enumerate(batch.action):
        z, imagined, _ = model.step(z, action)
        weight = batch.mask[t] / batch.mask[t].sum()  # (B,); NaN where nothing happened
        centre = (weight.unsqueeze(-1) * seen[t + 1]).sum(dim=0)
        spread = (weight * (seen[t + 1] - centre).square().sum(dim=-1)).sum()
        missed = (weight * (seen[t + 1] - z).square().sum(dim=-1)).sum()
        latent.append(missed / spread.where(spread > _LEAST_SPREAD, math.nan))
        reward.append((weight * (imagined - batch.reward[t]).abs()).sum())
    return OpenLoop(torch.stack(latent), torch.stack(reward))


def known_returns(
    reward: np.ndarray, discount: float, *, terminated: bool, beyond: float
) -> tuple[np.ndarray, np.ndarray]:
    """Discounted return (T,) from each decision of an episode on, and where it is known (T,).

    An episode that was cut goes on unseen: a return is known where at most 5% of what counts from
    there on lies beyond the cut. That rest is taken to be worth what was estimated at the cut;
    without it, values that are right would be reported as too high by up to 5%.

    Args:
        reward: (T,).
        discount: Weight of the next decision's value.
        terminated: Whether nothing came after.
        beyond: Value of what follows the last reward, where the episode was only cut.
    """
    returns = np.zeros(len(reward))
    follows = 0.0 if terminated else beyond
    for t in range(len(reward) - 1, -1, -1):
        follows = float(reward[t]) + discount * follows
        returns[t] = follows
    rest = discount ** np.arange(len(reward), 0, -1)
    return returns, np.full(len(reward), True) if terminated else rest <= REST


def value_bias(value: np.ndarray, returns: np.ndarray) -> ValueBias:
    """Compare values (n,) with the discounted returns (n,) that came; NaN where there are none."""
    if not len(value):
        return ValueBias(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    missed = value - returns
    varies = min(value.std(), returns.std()) > 1e-9
    return ValueBias(
        value=float(value.mean()),
        target=float(returns.mean()),
        bias=float(missed.mean()),
        error=float(np.sqrt(np.square(missed).mean())),
        correlation=float(np.corrcoef(value, returns)[0, 1]) if varies else math.nan,
        num_decisions=len(value),
    )


@torch.no_grad()
def effective_rank(z: Tensor) -> float:
    """How many directions latents (n, Z) spread in: 1 for a line, at most Z.

    The exponential of the entropy of the normalised singular values of the centred latents (Roy
    and Vetterli 2007, "The effective rank: a measure of effective dimensionality").
    """
    z = z.cpu().double()  # not every device has doubles
    singular = torch.linalg.svdvals(z - z.mean(dim=0))
    total = singular.sum()
    if total <= 1e-12:
        return 0.0
    share = singular / total
    return float(torch.special.entr(share).sum().exp())


@torch.no_grad()
def plan_figures(plan: Plan) -> dict[str, float]:
    """What a plan tells of its search, mean over B robots.

    Returns:
        `plan_std` spread of the next candidates, `elite_spread` standard deviation of the elites,
        `elites_clipped` share of their actions at a limit, `candidates_nan` candidates of the last
        iteration that were not finite.
    """
    elites = plan.elites
    return {
        "plan_std": float(plan.std.mean()),
        "elite_spread": float(elites.std(dim=1, unbiased=False).mean()),
        "elites_clipped": float((elites.abs() >= 1).to(elites.dtype).mean()),
        "candidates_nan": float(plan.num_invalid.to(elites.dtype).mean()),
    }


def linear_probe(
    z: np.ndarray, target: np.ndarray, held_z: np.ndarray, held_target: np.ndarray
) -> np.ndarray:
    """How much of each target a line through the latents tells: R^2 on data that it never saw.

    Args:
        z: (n, Z) latents to fit by least squares.
        target: (n, J) what to tell from them.
        held_z: (m, Z) latents to judge by.
        held_target: (m, J) what should come out.

    Returns:
        (J,) 1 for exact, 0 for no better than the held targets' mean; NaN where they are constant.
    """
    centre, scale = z.mean(axis=0), z.std(axis=0) + 1e-6

    def features(values: np.ndarray) -> np.ndarray:
        return np.column_stack([(values - centre) / scale, np.ones(len(values))])

    matrix = features(z)
    ridge = 1e-3 * np.eye(matrix.shape[1])  # latents of a SimNorm are linearly dependent
    weight = np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ target)
    missed = np.square(held_target - features(held_z) @ weight).sum(axis=0)
    spread = np.square(held_target - held_target.mean(axis=0)).sum(axis=0)
    varies = spread > 1e-9 * len(held_target)
    return np.where(varies, 1 - missed / np.where(varies, spread, 1.0), np.nan)
