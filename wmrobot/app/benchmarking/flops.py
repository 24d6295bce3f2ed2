"""What a plan and an update cost at least, in floating-point operations of their matrix products.

Counted from the settings alone, as torch counts: two operations a multiply-add; biases, norms and
activations are not products. A test holds the counts against `torch.utils.flop_counter`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from wmrobot.model.config import ModelConfig
from wmrobot.model.encoder import CONVOLUTIONS
from wmrobot.plan.config import PlannerConfig


@dataclass(frozen=True, kw_only=True)
class RowCost:
    """Multiply-adds that each network takes for one row of its input, forward.

    Attributes:
        encode: Every encoder.
        encode_first: Their first layers, which pass no gradient on.
        predict: Next latent and reward.
        predict_latent: The part of `predict` that multiplies the latent itself, not the action.
        terminate: Termination; 0 where a task is not episodic.
        head: One value head.
        values: All value heads.
        values_latent: The part of `values` that multiplies the latent itself.
        prior: Policy prior.
        prior_first: Its first layer.
    """

    encode: int
    encode_first: int
    predict: int
    predict_latent: int
    terminate: int
    head: int
    values: int
    values_latent: int
    prior: int
    prior_first: int


def row_cost(
    cfg: ModelConfig,
    *,
    obs_shapes: Mapping[str, tuple[int, ...]],
    action_dim: int,
    episodic: bool,
) -> RowCost:
    """Costs of a model of these sizes.

    Args:
        cfg: Sizes of the networks.
        obs_shapes: Shape by modality, of one frame for pictures.
        action_dim: A.
        episodic: Whether the model learns termination.
    """
    z, width, bins = cfg.latent_dim, cfg.mlp_dim, cfg.num_bins
    encoders = [_encoder_layers(cfg, shape) for shape in obs_shapes.values()]
    body = (z + action_dim) * width + width * width
    head = body + width * bins
    return RowCost(
        encode=sum(map(sum, encoders)),
        encode_first=sum(layers[0] for layers in encoders),
        predict=2 * body + width * z + width * bins,
        predict_latent=2 * z * width,
        terminate=z * width + width * width + width if episodic else 0,
        head=head,
        values=cfg.num_q * head,
        values_latent=cfg.num_q * z * width,
        prior=z * width + width * width + width * 2 * action_dim,
        prior_first=z * width,
    )


def _encoder_layers(cfg: ModelConfig, shape: tuple[int, ...]) -> list[int]:
    """Multiply-adds of each layer of one modality's encoder."""
    if len(shape) == 1:
        widths = [*shape, *[cfg.enc_dim] * (cfg.num_enc_layers - 1), cfg.latent_dim]
        return [a * b for a, b in pairwise(widths)]
    channels, height, width = shape[0] * cfg.frame_stack, *shape[1:]
    layers = []
    for kernel, stride in CONVOLUTIONS:
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        layers.append(height * width * cfg.num_channels * channels * kernel**2)
        channels = cfg.num_channels
    return [*layers, height * width * channels * cfg.latent_dim]


def plan_flops(cost: RowCost, cfg: PlannerConfig, batch: int) -> int:
    """What the search does: all that is necessary, and a little for one row of each robot.

    The latent's part of the first prediction, and of values there, is computed in every iteration
    and for the proposals, instead of once for all; and a planner without proposals still asks the
    prior at the root.
    """
    values_latent = cost.values_latent if cfg.value_lambda < 1 else 0
    again = cfg.iterations * (cost.predict_latent + values_latent)
    again += 0 if cfg.num_prior else cost.prior
    return necessary_plan_flops(cost, cfg, batch) + 2 * batch * again


def necessary_plan_flops(cost: RowCost, cfg: PlannerConfig, batch: int) -> int:
    """What the same plan needs: nothing computed twice, nothing computed and not used.

    The latent's part of the first prediction is the same for all candidates of a robot, in every
    iteration. The prior's sequences do not change between iterations, so they are imagined once;
    only their values are asked for again, as each iteration draws its own two heads.
    """
    rollout = cfg.horizon * (cost.predict + cost.terminate) - cost.predict_latent
    root = cost.encode + cost.predict_latent + (cost.prior if cfg.num_prior else 0)
    if cfg.value_lambda < 1:  # values on the way
        rollout += cfg.horizon * cost.values - cost.values_latent
        root += cost.values_latent
    # the root's own proposal differs between sequences by its noise alone; the last one is terminal
    proposal = rollout + cfg.horizon * cost.prior + cfg.iterations * 2 * cost.head
    candidate = rollout + cost.prior + 2 * cost.head
    drawn = cfg.iterations * (cfg.num_samples - cfg.num_prior)
    return 2 * batch * (root + cfg.num_prior * proposal + drawn * candidate)


def update_flops(cost: RowCost, *, num_q: int, horizon: int, batch_size: int) -> int:
    """One update, forward and backward.

    Backward takes a product for the weights and one for the input of every layer; a network's first
    layer needs the latter only where its input was itself computed with gradients.
    """
    rows = horizon * batch_size
    target = rows * (cost.encode + cost.prior + 2 * cost.head)  # no gradients
    encoder = batch_size * (3 * cost.encode - cost.encode_first)
    rollout = 3 * rows * (cost.predict + cost.terminate + num_q * cost.head)
    climbed = 2 * 2 * cost.head  # two heads, forward and through to the action; weights at rest
    prior = (rows + batch_size) * (3 * cost.prior - cost.prior_first + climbed)
    return 2 * (target + encoder + rollout + prior)
