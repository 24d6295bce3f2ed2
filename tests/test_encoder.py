"""Encoders: one per modality, fused before the simplex."""

from dataclasses import replace

import pytest
import torch

from tests.doubles import TINY
from wmrobot.core.errors import ConfigError
from wmrobot.model.encoder import Encoder, PictureEncoder, make_state_encoder
from wmrobot.nn.activations import simnorm
from wmrobot.nn.products import Precision

SHAPES = {"state": (5,), "rgb": (6, 64, 64)}


def observations(*lead: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "state": torch.randn(*lead, 5, generator=generator),
        "rgb": torch.randint(0, 256, (*lead, 6, 64, 64), generator=generator, dtype=torch.uint8),
    }


@pytest.mark.parametrize("names", [["state"], ["rgb"], ["state", "rgb"]])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_latents_are_simplices_over_any_leading_axes(
    names: list[str], lead: tuple[int, ...]
) -> None:
    encoder = Encoder(TINY, {name: SHAPES[name] for name in names})
    z = encoder({name: value for name, value in observations(*lead).items() if name in names})
    assert z.shape == (*lead, TINY.latent_dim)
    groups = z.unflatten(-1, (-1, TINY.simnorm_dim))
    torch.testing.assert_close(groups.sum(dim=-1), torch.ones(groups.shape[:-1]))
    assert (z > 0).all()


def test_modalities_are_summed_before_the_simplex() -> None:
    encoder = Encoder(TINY, SHAPES)
    obs = observations(3)
    total = encoder.parts["state"](obs["state"]) + encoder.parts["rgb"](obs["rgb"])
    torch.testing.assert_close(encoder(obs), simnorm(total, TINY.simnorm_dim))


def test_every_modality_matters() -> None:
    encoder = Encoder(TINY, SHAPES)
    obs = observations(3)
    z = encoder(obs)
    assert not encoder({**obs, "state": obs["state"] + 1}).allclose(z)
    assert not encoder({**obs, "rgb": 255 - obs["rgb"]}).allclose(z)


def test_order_of_modalities_does_not_matter() -> None:
    backwards = dict(reversed(SHAPES.items()))
    assert list(Encoder(TINY, SHAPES).state_dict()) == list(Encoder(TINY, backwards).state_dict())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_a_picture_is_convolved_as_it_differs_from_the_mean_ones(
    precision: Precision, tolerance: float
) -> None:
    encoder = PictureEncoder(replace(TINY, precision=precision), (6, 64, 64))
    picture = observations(3)["rgb"]
    expected = encoder.project(encoder.convolutions((picture - 128.0) / 255).flatten(1))
    torch.testing.assert_close(encoder(picture), expected, atol=tolerance, rtol=0.0)

    encoder.standardise(picture)
    mean = (picture.double().mean(dim=0) + 0.5).floor()
    spread = (picture - mean).square().mean().sqrt()
    expected = encoder.project(encoder.convolutions(((picture - mean) / spread).float()).flatten(1))
    torch.testing.assert_close(encoder(picture), expected, atol=tolerance, rtol=0.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_the_same_in_all_pictures_makes_no_difference(precision: Precision) -> None:
    """Exactly: grey levels are whole numbers, and so are their differences."""
    encoder = PictureEncoder(replace(TINY, precision=precision), (6, 64, 64))
    generator = torch.Generator().manual_seed(1)
    moving = torch.randint(0, 100, (16, 6, 64, 64), generator=generator, dtype=torch.uint8)
    scenery = torch.randint(0, 156, (6, 64, 64), generator=generator, dtype=torch.uint8)
    encoder.standardise(moving)
    seen = encoder(moving)
    encoder.standardise(moving + scenery)
    assert encoder(moving + scenery).equal(seen)


def test_pictures_that_are_all_the_same_are_not_blown_up() -> None:
    encoder = Encoder(TINY, SHAPES)
    blank = torch.full((3, 4, 6, 64, 64), 7, dtype=torch.uint8)
    encoder.standardise({"rgb": blank, "state": torch.zeros(3, 4, 5)})
    part = encoder.parts["rgb"]
    assert isinstance(part, PictureEncoder)
    assert part.mean.eq(7).all()
    assert part.spread == 1
    assert part(observations(3)["rgb"]).isfinite().all()


def test_gradients_reach_every_weight_in_bf16() -> None:
    encoder = PictureEncoder(replace(TINY, precision="bf16"), (6, 64, 64))
    encoder(observations(3)["rgb"]).square().mean().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_other_picture_sizes_fit_and_too_small_ones_are_refused() -> None:
    encoder = PictureEncoder(TINY, (3, 84, 100))
    assert encoder(torch.zeros(2, 3, 84, 100, dtype=torch.uint8)).shape == (2, 16)
    with pytest.raises(ConfigError, match=r"^image_size: expected pictures of .*got \(20, 64\)$"):
        PictureEncoder(TINY, (3, 20, 64))


def test_state_encoder_ends_in_a_norm() -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    z = make_state_encoder(TINY, 5)(x)
    torch.testing.assert_close(z.mean(dim=-1), torch.zeros(4), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(z.var(dim=-1, correction=0), torch.ones(4), atol=0.2, rtol=0.0)
