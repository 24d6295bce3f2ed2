"""The planners, asked questions whose answers are known."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import planner_reference as reference
from tests.doubles import (
    Broken,
    Cliff,
    Everything,
    Lost,
    PointMass,
    TerminalValue,
    noise_for,
    tiny_model,
)
from wmrobot.core.errors import ConfigError
from wmrobot.core.types import LatentModel, Plan, PlanNoise
from wmrobot.plan.config import CemConfig, IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.noise import empty_plan
from wmrobot.plan.planner import make_planner
from wmrobot.plan.search import imagine_candidates, imagine_prior, score, shift

SMALL = {"horizon": 3, "iterations": 6, "num_samples": 128, "num_elites": 12, "num_prior": 6}
each_planner = pytest.mark.parametrize(
    "cfg", [cls(**SMALL) for cls in get_args(PlannerConfig)], ids=lambda cfg: cfg.kind
)
CPU = torch.device("cpu")


def run(
    model: LatentModel,
    cfg: PlannerConfig,
    z: Tensor,
    noise: PlanNoise | None = None,
    warm: Plan | None = None,
    action_dim: int | None = None,
) -> Plan:
    batch, action_dim = len(z), action_dim or z.shape[1]
    noise = noise or noise_for(cfg, batch, action_dim)
    warm = warm or empty_plan(cfg, batch=batch, action_dim=action_dim, device=CPU)
    return make_planner(cfg)(model, z, warm, noise)


def equal(a: Plan, b: Plan, row: int | slice = slice(None)) -> bool:
    return all(x[row].equal(y[row]) for x, y in zip(a, b, strict=True))


@each_planner
def test_finds_known_optimum(cfg: PlannerConfig) -> None:
    z = torch.tensor([[0.6, -0.4], [0.1, 0.9]])
    plan = run(PointMass(), cfg, z)
    torch.testing.assert_close(plan.mean[:, 0], -z, atol=0.1, rtol=0.0)
    torch.testing.assert_close(plan.elites[:, 0, 0], -z, atol=0.15, rtol=0.0)


@each_planner
def test_where_nothing_is_earned_the_terminal_value_decides(cfg: PlannerConfig) -> None:
    z = torch.tensor([[0.0, 0.0], [-0.5, 0.5]])
    plan = run(TerminalValue(), cfg, z)
    goal = torch.tensor(TerminalValue.goal)
    torch.testing.assert_close(z + plan.mean.sum(dim=1), goal.expand(2, 2), atol=0.1, rtol=0.0)


@each_planner
def test_nothing_counts_after_termination(cfg: PlannerConfig) -> None:
    plan = run(Cliff(), cfg, torch.zeros(3, 1))
    assert (plan.elites.sign() == torch.tensor([[-1.0], [-1.0], [1.0]])).all()
    torch.testing.assert_close(plan.value, torch.full((3,), 1.1))


def returns_of(
    model: LatentModel,
    z: Tensor,
    actions: Tensor,
    terminal: Tensor | None = None,
    value_lambda: float = 1.0,
) -> Tensor:
    """Estimated returns (B, N) of candidates (B, N, H, A)."""
    terminal = torch.zeros_like(actions[:, :, 0]) if terminal is None else terminal
    imagined = imagine_candidates(model, z, actions, terminal, value_lambda)
    return score(model, imagined, torch.arange(2))


def test_score_ends_with_the_episode() -> None:
    actions = torch.tensor([[[1, 1, 1], [-1, -1, -1], [-1, 1, -1], [-1, -1, 1]]]).float()
    returns = returns_of(Cliff(), torch.zeros(1, 1), actions.unsqueeze(-1))
    torch.testing.assert_close(returns, torch.tensor([[0.5, 0.9, 0.8, 1.1]]))


def test_score_discounts_rewards_and_value() -> None:
    actions = torch.tensor([[[[1.0], [0.0]]]])
    returns = returns_of(PointMass(), torch.ones(1, 1), actions)
    torch.testing.assert_close(returns, torch.tensor([[-4 - 0.9 * 4 - 0.9**2 * 4]]))


@pytest.mark.parametrize("value_lambda", [0.1, 0.3, 1.0])
def test_values_that_are_right_make_every_depth_agree(value_lambda: float) -> None:
    class Steady(PointMass):
        def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            z, _, continuation = super().step(z, action)
            return z, torch.ones_like(continuation), continuation

        def value(self, z: Tensor, action: Tensor, heads: Tensor | None) -> Tensor:
            return torch.full((z + action).shape[:-1], 1 / (1 - 0.9))

    actions = torch.rand(2, 4, 3, 1)
    returns = returns_of(Steady(), torch.ones(2, 1), actions, value_lambda=value_lambda)
    torch.testing.assert_close(returns, torch.full((2, 4), 10.0))


def test_values_on_the_way_by_hand() -> None:
    """From z = 1, where the value is -1, by -1 to 0, which is worth 0 and stays there."""
    actions = torch.tensor([[[[-1.0], [0.0]]]])
    returns = returns_of(PointMass(), torch.ones(1, 1), actions, value_lambda=0.75)
    torch.testing.assert_close(returns, torch.tensor([[0.25 * -1.0]]))


def test_mppi_with_two_candidates_by_hand() -> None:
    """Returns 0.5 and -0.25; with this temperature the better one weighs three times the other."""

    class Greedy(PointMass):
        def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return z, action.squeeze(-1), torch.zeros(action.shape[:-1])

    cfg = MppiConfig(
        horizon=1,
        iterations=1,
        num_samples=2,
        num_elites=2,
        num_prior=0,
        max_std=1.0,
        inverse_temperature=math.log(3) / 0.75,
    )
    noise = noise_for(cfg, 1, 1)._replace(
        candidates=torch.tensor([-0.25, 0.5]).reshape(1, 1, 2, 1, 1),
        pick=torch.tensor([[0.0, 2.0]]),  # log 0.75 < log 0.25 + 2: the second is executed
    )
    plan = run(Greedy(), cfg, torch.zeros(1, 1), noise)
    torch.testing.assert_close(plan.mean.flatten(), torch.tensor([0.3125]))
    torch.testing.assert_close(plan.std.flatten(), torch.tensor([math.sqrt(0.10546875)]))
    torch.testing.assert_close(plan.value, torch.tensor([0.3125]))
    torch.testing.assert_close(plan.elites.flatten(), torch.tensor([0.5, -0.25]))
    assert plan.action.item() == -0.25
    again = run(Greedy(), cfg, torch.zeros(1, 1), noise._replace(pick=torch.zeros(1, 2)))
    assert again.action.item() == 0.5


@pytest.mark.parametrize(
    "cfg",
    [
        MppiConfig(horizon=3, iterations=3, num_samples=20, num_elites=5, num_prior=3),
        CemConfig(horizon=2, iterations=4, num_samples=16, num_elites=4, num_prior=0),
        CemConfig(horizon=4, iterations=2, num_samples=20, num_elites=1, num_prior=2),
        IcemConfig(horizon=3, iterations=4, num_samples=20, num_elites=8, num_prior=3),
        MppiConfig(
            horizon=3, iterations=3, num_samples=20, num_elites=5, num_prior=3, value_lambda=0.6
        ),
        IcemConfig(
            horizon=2, iterations=3, num_samples=20, num_elites=8, num_prior=3, value_lambda=0.2
        ),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_numpy_reference(cfg: PlannerConfig, seed: int) -> None:
    batch, action_dim = 3, 2
    draw = np.random.default_rng(seed)
    z = torch.from_numpy(draw.normal(size=(batch, action_dim)))
    noise = noise_for(cfg, batch, action_dim, seed=seed)
    noise = PlanNoise(*(x.double() if x.is_floating_point() else x for x in noise))
    warm = empty_plan(cfg, batch=batch, action_dim=action_dim, device=CPU)
    warm = warm._replace(
        mean=torch.from_numpy(draw.uniform(-1, 1, warm.mean.shape)),
        elites=torch.from_numpy(draw.uniform(-1, 1, warm.elites.shape)),
        valid=torch.tensor([True, False, True]),
    )
    plan = run(Everything(), cfg, z, noise, warm)
    sizes = reference.Sizes(
        iterations=cfg.iterations,
        num_samples=cfg.num_samples,
        num_elites=cfg.num_elites,
        num_kept=cfg.num_kept if isinstance(cfg, IcemConfig) else 0,
        min_std=cfg.min_std,
        max_std=cfg.max_std,
        inverse_temperature=cfg.inverse_temperature if isinstance(cfg, MppiConfig) else None,
        value_lambda=cfg.value_lambda,
    )
    for row in range(batch):
        expected = reference.plan_one(
            z[row].numpy(),
            {name: getattr(warm, name)[row].numpy() for name in ("mean", "elites", "valid")},
            {
                "candidates": noise.candidates[:, row].numpy(),
                "prior": noise.prior[row].numpy(),
                "terminal": noise.terminal[row].numpy(),
                "heads": noise.heads.numpy(),
                "pick": noise.pick[row].numpy(),
            },
            sizes,
        )
        for name, value in expected.items():
            found = getattr(plan, name)[row].numpy()
            np.testing.assert_allclose(found, value, atol=1e-9, err_msg=f"{name} of row {row}")


@each_planner
def test_same_noise_same_plan(cfg: PlannerConfig) -> None:
    z = torch.tensor([[0.3, -0.2], [0.9, 0.1]])
    assert equal(run(Everything(), cfg, z), run(Everything(), cfg, z))
    other = run(Everything(), cfg, z, noise_for(cfg, 2, 2, seed=1))
    assert not other.mean.equal(run(Everything(), cfg, z).mean)


@each_planner
def test_order_of_candidates_does_not_matter(cfg: PlannerConfig) -> None:
    z = torch.tensor([[0.3, -0.2], [0.9, 0.1]])
    noise = noise_for(cfg, 2, 2)
    kept = cfg.num_kept if isinstance(cfg, IcemConfig) else 0
    first, drawn = cfg.num_prior + kept, cfg.num_samples - cfg.num_prior - kept
    order = torch.randperm(drawn, generator=torch.Generator().manual_seed(0))
    candidates, terminal = noise.candidates.clone(), noise.terminal.clone()
    candidates[:, :, :drawn] = noise.candidates[:, :, order]
    terminal[:, first:] = noise.terminal[:, first + order]
    permuted = run(Everything(), cfg, z, noise._replace(candidates=candidates, terminal=terminal))
    for a, b in zip(permuted, run(Everything(), cfg, z, noise), strict=True):
        torch.testing.assert_close(a, b)


@each_planner
def test_batch_elements_do_not_mix(cfg: PlannerConfig) -> None:
    z = torch.tensor([[0.3, -0.2], [0.9, 0.1], [0.0, 0.5]])
    noise = noise_for(cfg, 3, 2)
    together = run(Everything(), cfg, z, noise)
    moved = run(Everything(), cfg, torch.cat([z[:2], z[2:] + 1]), noise)
    assert equal(together, moved, slice(0, 2))
    assert not equal(together, moved, 2)
    alone = PlanNoise(
        candidates=noise.candidates[:, 1:2],
        prior=noise.prior[1:2],
        terminal=noise.terminal[1:2],
        heads=noise.heads,
        pick=noise.pick[1:2],
        execution=noise.execution[1:2],
    )
    for a, b in zip(run(Everything(), cfg, z[1:2], alone), together, strict=True):
        torch.testing.assert_close(a, b[1:2])


@each_planner
def test_actions_stay_in_range(cfg: PlannerConfig) -> None:
    plan = run(PointMass(), cfg, torch.tensor([[30.0, -30.0]]))  # wants more than it may
    for actions in (plan.mean, plan.elites, plan.action):
        assert actions.abs().max() <= 1
    torch.testing.assert_close(plan.mean[0, 0], torch.tensor([-1.0, 1.0]), atol=0.05, rtol=0.0)
    assert cfg.min_std <= plan.std.min()
    assert plan.std.max() <= cfg.max_std


@each_planner
def test_what_is_not_finite_is_never_an_elite_and_is_counted(cfg: PlannerConfig) -> None:
    plan = run(Broken(), cfg, torch.tensor([[0.6, -0.4]]))
    assert all(x.isfinite().all() for x in plan)
    assert plan.elites[..., 0].abs().max() <= 0.5
    torch.testing.assert_close(plan.mean[0, 0], torch.tensor([-0.45, 0.4]), atol=0.15, rtol=0.0)


def test_invalid_candidates_are_counted_exactly() -> None:
    cfg = CemConfig(horizon=1, iterations=1, num_samples=5, num_elites=2, num_prior=0, max_std=1.0)
    candidates = torch.tensor([0.0, 0.7, -0.8, 0.2, 1.0]).reshape(1, 1, 5, 1, 1)
    noise = noise_for(cfg, 1, 1)._replace(candidates=candidates)
    plan = run(Broken(), cfg, torch.zeros(1, 1), noise)
    assert plan.num_invalid.item() == 3
    torch.testing.assert_close(plan.elites.flatten(), torch.tensor([0.0, 0.2]))


def test_fewer_finite_candidates_than_elites_share_the_weight() -> None:
    cfg = CemConfig(horizon=1, iterations=1, num_samples=4, num_elites=3, num_prior=0, max_std=1.0)
    candidates = torch.tensor([0.9, 0.7, -0.8, 0.2]).reshape(1, 1, 4, 1, 1)
    noise = noise_for(cfg, 1, 1)._replace(candidates=candidates)
    plan = run(Broken(), cfg, torch.zeros(1, 1), noise)
    torch.testing.assert_close(plan.mean.flatten(), torch.tensor([0.2]))
    torch.testing.assert_close(plan.action.flatten(), torch.tensor([0.2]))
    assert plan.num_invalid.item() == 3


@each_planner
def test_a_model_that_predicts_nothing_is_told(cfg: PlannerConfig) -> None:
    plan = run(Lost(), cfg, torch.zeros(2, 2))
    assert (plan.num_invalid == cfg.num_samples).all()
    assert all(x.isfinite().all() for x in plan)


def test_a_lost_robot_leaves_the_others_alone() -> None:
    cfg = MppiConfig(**SMALL)
    z = torch.tensor([[0.3, -0.2], [0.9, 0.1]])
    noise = noise_for(cfg, 2, 2)
    lost = run(PointMass(), cfg, torch.tensor([[0.3, -0.2], [float("nan"), 0.1]]), noise)
    assert lost.num_invalid.tolist() == [0, cfg.num_samples]
    assert equal(lost, run(PointMass(), cfg, z, noise), 0)


def test_shift_moves_one_decision_on() -> None:
    sequence = torch.arange(6.0).reshape(1, 3, 2)
    assert shift(sequence).tolist() == [[[2, 3], [4, 5], [0, 0]]]


@each_planner
def test_warm_start_is_the_last_plan_one_decision_later(cfg: PlannerConfig) -> None:
    """Without noise, every candidate that is drawn is the mean."""
    cfg = type(cfg)(horizon=3, iterations=1, num_samples=4, num_elites=2, num_prior=0)
    noise = noise_for(cfg, 2, 1)
    noise = noise._replace(candidates=torch.zeros_like(noise.candidates))
    warm = empty_plan(cfg, batch=2, action_dim=1, device=CPU)
    sequence = torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1)
    warm = warm._replace(
        mean=sequence.expand(2, 3, 1),
        elites=sequence.expand(2, 2, 3, 1),
        valid=torch.tensor([True, False]),
    )
    plan = run(PointMass(), cfg, torch.zeros(2, 1), noise, warm)
    torch.testing.assert_close(plan.mean.squeeze(-1), torch.tensor([[0.2, 0.3, 0], [0, 0, 0]]))
    assert plan.valid.all()


def test_icem_carries_elites_from_plan_to_plan() -> None:
    cfg = IcemConfig(
        horizon=3, iterations=1, num_samples=8, num_elites=4, num_prior=0, keep_fraction=0.5
    )
    best = torch.tensor([[9.0], [-0.5], [0.0]])  # its first action is over: -0.5 is what is needed
    warm = empty_plan(cfg, batch=2, action_dim=1, device=CPU)
    warm = warm._replace(
        elites=best.expand(2, 4, 3, 1), valid=torch.tensor([True, False]), mean=warm.mean
    )
    noise = noise_for(cfg, 2, 1)
    noise = noise._replace(candidates=torch.ones_like(noise.candidates))  # all that is drawn is bad
    plan = run(PointMass(), cfg, torch.full((2, 1), 0.5), noise, warm)
    assert plan.elites[0, 0].flatten().tolist() == [-0.5, 0.0, 0.0]
    assert plan.elites[1, 0].flatten().tolist() == [0.0, 0.0, 0.0]


def test_icem_never_loses_its_best_between_rounds() -> None:
    z, best = torch.tensor([[0.6, -0.4]]), []
    full = IcemConfig(**{**SMALL, "iterations": 5, "num_samples": 24})
    noise = noise_for(full, 1, 2)
    for iterations in range(1, 6):
        cfg = IcemConfig(**{**SMALL, "iterations": iterations, "num_samples": 24})
        part = noise._replace(
            candidates=noise.candidates[:iterations], heads=noise.heads[:iterations]
        )
        plan = run(PointMass(), cfg, z, part)
        best.append(returns_of(PointMass(), z, plan.elites[:, :1]).item())
    assert best == sorted(best)
    assert best[-1] > best[0]


def test_a_proposal_that_icem_keeps_is_not_counted_twice() -> None:
    class Good(PointMass):
        def propose(self, z: Tensor, eps: Tensor) -> Tensor:
            return -z + 0.05 * eps

    cfg = IcemConfig(**SMALL)
    plan = run(Good(), cfg, torch.tensor([[0.6, -0.4], [0.1, 0.9]]))
    for elites in plan.elites:
        assert len(elites.flatten(1).unique(dim=0)) == cfg.num_elites
    assert plan.num_invalid.tolist() == [0, 0]


def test_prior_proposals_compete() -> None:
    class Knows(PointMass):
        def propose(self, z: Tensor, eps: Tensor) -> Tensor:
            return -z + 0.01 * eps

    cfg = CemConfig(horizon=2, iterations=1, num_samples=6, num_elites=2, num_prior=2)
    noise = noise_for(cfg, 1, 1)
    noise = noise._replace(candidates=torch.ones_like(noise.candidates))
    plan = run(Knows(), cfg, torch.full((1, 1), 0.5), noise)
    torch.testing.assert_close(plan.mean[0, 0], torch.tensor([-0.5]), atol=0.03, rtol=0.0)


def test_a_fresh_search_keeps_no_action_twice() -> None:
    """All that iCEM keeps of no plan is zero action, which is best here and an elite only once."""
    cfg = IcemConfig(horizon=1, iterations=2, num_samples=64, num_elites=20, num_prior=2)
    assert cfg.num_kept > 1
    plan = run(PointMass(), cfg, torch.zeros(2, 1))
    for elites in plan.elites[:, :, 0, 0]:
        assert elites[0] == 0
        assert len(elites.unique()) == len(elites)


def test_proposals_follow_the_imagined_latent() -> None:
    class Follows(PointMass):
        def propose(self, z: Tensor, eps: Tensor) -> Tensor:
            return -0.5 * z + eps

    noise = torch.zeros(1, 1, 3, 1)
    noise[0, 0, 1] = 0.25
    eps = torch.zeros(1, 1, 1)
    proposals = imagine_prior(Follows(), torch.ones(1, 1), noise, eps, value_lambda=1.0)
    # z: 1, 0.5, 0.5
    assert proposals.actions.flatten().tolist() == [-0.5, 0.0, -0.25]
    assert proposals.z.item() == 0.25


@each_planner
@pytest.mark.parametrize("num_prior", [0, 5])
@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("value_lambda", [0.7, 1.0])
def test_plans_in_a_learned_model(
    cfg: PlannerConfig, num_prior: int, *, episodic: bool, value_lambda: float
) -> None:
    cfg = type(cfg)(
        iterations=2, num_samples=16, num_elites=4, num_prior=num_prior, value_lambda=value_lambda
    )
    model = tiny_model(trained=True, episodic=episodic)
    with torch.inference_mode():
        z = model.encode({"state": torch.randn(3, 5, generator=torch.Generator().manual_seed(0))})
        plan = run(model, cfg, z, noise_for(cfg, 3, 2, num_q=3), action_dim=2)
    assert plan.mean.shape == (3, 3, 2)
    assert plan.elites.shape == (3, 4, 3, 2)
    assert all(x.isfinite().all() for x in plan)
    assert (plan.num_invalid == 0).all()


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (MppiConfig, {"horizon": 0}, "horizon: expected at least 1, got 0"),
        (
            MppiConfig,
            {"num_prior": 512},
            "num_prior: expected 0 <= num_prior < num_samples=512, got 512",
        ),
        (
            CemConfig,
            {"num_elites": 600},
            "num_elites: expected at most num_samples=512, got 600",
        ),
        (
            CemConfig,
            {"min_std": 3.0},
            "min_std, max_std: expected 0 < min_std <= max_std, got 3.0 and 2.0",
        ),
        (
            MppiConfig,
            {"inverse_temperature": 0.0},
            "inverse_temperature: expected more than 0, got 0.0",
        ),
        (
            CemConfig,
            {"value_lambda": 0.0},
            "value_lambda: expected 0 < value_lambda <= 1, got 0.0",
        ),
        (IcemConfig, {"noise_beta": -1.0}, "noise_beta: expected at least 0, got -1.0"),
        (IcemConfig, {"keep_fraction": 1.5}, "keep_fraction: expected 0 to 1, got 1.5"),
        (
            IcemConfig,
            {"num_samples": 40, "num_elites": 40, "num_prior": 30},
            "num_samples: expected more than num_prior + kept elites = 42, got 40",
        ),
    ],
)
def test_settings_out_of_range_are_refused(
    cls: type[PlannerConfig], values: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        cls(**values)  # type: ignore[arg-type]
    assert str(error.value) == message
