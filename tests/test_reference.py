"""The reference of the benchmarks is TD-MPC2's base model at its full cost, and works."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference.learner import Learner
from benchmarks.reference.model import Model, Sizes
from benchmarks.reference.planner import HORIZON, plan

TINY = Sizes(latent_dim=16, width=16, enc_dim=8, num_bins=11)


def draw_batch(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.randn(HORIZON + 1, size, 24),
        torch.rand(HORIZON, size, 6),
        torch.rand(HORIZON, size),
    )


@pytest.mark.slow
def test_base_plan_takes_what_the_published_planner_takes() -> None:
    model = Model(Sizes()).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(5e6, rel=0.02)
    with FlopCounterMode(display=False) as counter:
        plan(model, torch.randn(1, 24))
    # 6 x 512 candidates over 3 decisions with all 5 heads: 46.3 GFLOP, and the proposals
    assert counter.get_total_flops() / 1e9 == pytest.approx(46.3, rel=0.005)


def test_plans_are_finite_and_follow_the_last_plan() -> None:
    model = Model(TINY).eval()
    action, mean = plan(model, torch.randn(1, 24))
    action, mean = plan(model, torch.randn(1, 24), mean)
    assert action.shape == (6,)
    assert mean.shape == (HORIZON, 6)
    assert bool(mean.isfinite().all())
    assert bool((action.abs() <= 1).all())


def test_updates_lower_the_loss() -> None:
    learner = Learner(Model(TINY))
    batch = draw_batch(8)
    losses = [learner.update(*batch)["total_loss"] for _ in range(30)]
    assert losses[-1] < losses[0]
