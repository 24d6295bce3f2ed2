"""Diagnostics as tables and pictures of a page."""

from collections.abc import Iterator, Mapping

import numpy as np

from wmrobot.app.controllers import Card
from wmrobot.app.reporting.diagnosis import Diagnosis
from wmrobot.app.reporting.html_page import Paragraph, Picture, Section, Table
from wmrobot.app.reporting.plots import Curve, curve_png
from wmrobot.app.training.result import Result
from wmrobot.control.agents import AgentKind
from wmrobot.learn.diagnostics import ValueBias

AGENTS: Mapping[AgentKind, str] = {
    "trained": "planner",
    "prior": "policy prior alone",
    "shuffled": "planner, dynamics shuffled",
    "zero": "zero action",
}
FIGURES = {
    "plan_std": "spread of candidates, last iteration",
    "elite_spread": "spread of elites",
    "elites_clipped": "share of elites' actions at a limit",
    "candidates_nan": "candidates that were not finite, of the last iteration",
}
LOSSES = (
    ("consistency_loss", "reward_loss", "value_loss", "termination_loss", "state_loss"),
    ("grad_norm", "prior_grad_norm"),
    ("value_mean", "value_scale"),
)
LOG = (True, True, False)
CAPTIONS = ("losses, unweighted", "norms of the gradients before clipping", "values of the prior")


def curve_of(result: Result, card: Card) -> bytes:
    """Evaluations of one run."""
    curve = Curve(
        label=f"seed {result.seed}",
        decisions=result.steps / (1 if result.offline else card.task.action_repeat),
        returns=result.rewards[None],
    )
    return curve_png([curve], title=card.task.name)


def loss_pictures(rows: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Caption and picture of what `train.csv` holds.

    Args:
        rows: (N,) of each column; NaN where a cell is empty.
    """
    for names, caption, log in zip(LOSSES, CAPTIONS, LOG, strict=True):
        least = 0 if log else -np.inf  # nothing but zero cannot be drawn there
        told = [
            name
            for name in names
            if name in rows and np.nanmax(rows[name], initial=-np.inf) > least
        ]
        curves = [
            Curve(label=name, decisions=rows["decisions"], returns=rows[name][None])
            for name in told
        ]
        if curves:
            yield caption, curve_png(curves, y_label=caption, log=log)


def diagnosis_sections(diagnosis: Diagnosis, card: Card, episodes: int) -> list[Section]:
    """All that was measured of a controller.

    Args:
        diagnosis: The figures.
        card: What the controller was made for.
        episodes: Episodes that each agent drove.
    """
    sections = [
        _agents(diagnosis, episodes),
        _open_loop(diagnosis, episodes),
        _values(diagnosis),
        _planner(diagnosis, card),
    ]
    return [*sections, _latents(diagnosis, card)]


def _agents(diagnosis: Diagnosis, episodes: int) -> Section:
    rows = [
        [AGENTS[kind], f"{mean:.1f}", f"{std:.1f}"]
        for kind, (mean, std) in diagnosis.agents.items()
    ]
    table = Table(
        header=("agent", "mean return", "standard deviation"),
        rows=rows,
        caption=f"{episodes} episodes each, from the same starting states",
        highlight=0,
    )
    return Section(title="What planning is worth", blocks=[table])


def _open_loop(diagnosis: Diagnosis, episodes: int) -> Section:
    latent, reward = (error.cpu().numpy() for error in diagnosis.open_loop)
    horizon = np.arange(1, len(latent) + 1)
    pictures = [
        Picture(
            data=curve_png(
                [Curve(label=label, decisions=horizon, returns=values[None])],
                x_label="decisions ahead",
                y_label=label,
            ),
            caption=caption,
        )
        for label, values, caption in (
            ("latent error", latent, "1 is as bad as always predicting the mean latent"),
            ("reward error", reward, "mean absolute error of one decision's reward"),
        )
    ]
    last = max(int(np.isfinite(latent).sum()) - 1, 0)  # no episode may last for the whole horizon
    shown = sorted({0, last // 4, last // 2, last})
    rows = [[str(h + 1), f"{latent[h]:.4f}", f"{reward[h]:.4f}"] for h in shown]
    table = Table(header=("decisions ahead", "latent error", "reward error"), rows=rows)
    text = (
        f"The model imagines the actions of {episodes} new episodes of the planner, without "
        "looking again, and is compared with what came."
    )
    told = Paragraph(text=text)
    return Section(title="How far it sees ahead", blocks=[told, table, *pictures])


def _values(diagnosis: Diagnosis) -> Section:
    title = "Values against returns"
    if not diagnosis.prior_value.num_decisions:
        text = (
            "Nothing to compare: with this task's discount more than 5% of every decision's return "
            "lies beyond the end of its episode, where nothing is known."
        )
        return Section(title=title, blocks=[Paragraph(text=text)])

    def cells(name: str, found: ValueBias) -> list[str]:
        figures = (found.value, found.target, found.bias, found.error)
        return [
            name,
            *(f"{figure:.2f}" for figure in figures),
            f"{found.correlation:.3f}",
            f"{found.num_decisions:,}",
        ]

    table = Table(
        header=("", "value", "return", "over-estimation", "error", "correlation", "decisions"),
        rows=[
            cells("prior alone: its value heads", diagnosis.prior_value),
            cells("planner: the plan's return", diagnosis.plan_value),
        ],
        caption="discounted returns that came, where at most 5% of them lies beyond the episode",
    )
    return Section(title=title, blocks=[table])


def _planner(diagnosis: Diagnosis, card: Card) -> Section:
    rows = [[FIGURES[name], f"{value:.4f}"] for name, value in diagnosis.plans.items()]
    caption = f"mean over decisions; {card.planner.num_samples} candidates an iteration"
    table = Table(header=("planner", ""), rows=rows, caption=caption)
    return Section(title="The search", blocks=[table])


def _latents(diagnosis: Diagnosis, card: Card) -> Section:
    text = (
        f"The latents of these episodes spread in {diagnosis.rank:.1f} of "
        f"{card.model.latent_dim} directions (effective rank)."
    )
    if not diagnosis.probe:
        none = "There is no probe: it needs two episodes, and a simulation that tells its joints."
        return Section(title="The latent", blocks=[Paragraph(text=text), Paragraph(text=none)])
    fit, held, size, joints = diagnosis.probe_shape
    probe = Table(
        header=("joint position", "R² held out"),
        rows=[[name, f"{r2:.3f}"] for name, r2 in diagnosis.probe.items()],
        caption=f"least squares from z ({fit} x {size}) to positions ({fit} x {joints}), judged "
        f"on {held} decisions of other episodes; nan where a position never changed",
    )
    return Section(title="The latent", blocks=[Paragraph(text=text), probe])
