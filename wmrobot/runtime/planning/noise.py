"""All randomness of a search, from a numpy stream. The same shapes as in training."""

from typing import NamedTuple

import numpy as np

from wmrobot.runtime.arrays import FloatArray, IntArray
from wmrobot.runtime.bundle.description import Description


class Noise(NamedTuple):
    """What one search draws. A deployed planner executes the mean and so explores nothing.

    Attributes:
        candidates: (I, B, N - P, H, A) standard normal, coloured along H for iCEM.
        prior: (B, P, H, A) standard normal, for the policy prior's proposals.
        terminal: (B, N, A) standard normal, for the prior's action at the end of each candidate.
        heads: (I, 2) value heads to average in each iteration.
    """

    candidates: FloatArray
    prior: FloatArray
    terminal: FloatArray
    heads: IntArray


def make_generator(seed: int) -> np.random.Generator:
    """The stream that a planner draws from."""
    return np.random.Generator(np.random.PCG64(seed))


def draw_noise(description: Description, batch: int, generator: np.random.Generator) -> Noise:
    """Noise for one search of `batch` robots."""
    sizes, action_dim = description.search, description.action_dim

    def normal(*shape: int) -> FloatArray:
        return generator.standard_normal(shape, dtype=np.float32)

    num_drawn = sizes.num_samples - sizes.num_prior
    candidates = normal(sizes.iterations, batch, num_drawn, sizes.horizon, action_dim)
    order = generator.random((sizes.iterations, sizes.num_q)).argsort(axis=1)
    return Noise(
        candidates=colour(candidates, sizes.noise_beta),
        prior=normal(batch, sizes.num_prior, sizes.horizon, action_dim),
        terminal=normal(batch, sizes.num_samples, action_dim),
        heads=order[:, :2].astype(np.int64),
    )


def colour(white: FloatArray, beta: float) -> FloatArray:
    """White noise (..., H, A), its power spectrum along H made 1 / f^beta, unit variance kept.

    After Timmer and Koenig 1995, as iCEM uses it; frequency 0 takes the weight of the next one.
    """
    horizon = white.shape[-2]
    if beta == 0 or horizon < 2:
        return white
    frequency = np.fft.rfftfreq(horizon)
    frequency[0] = frequency[1]
    weight = frequency ** (-beta / 2)
    # each bin but the first (and the last, for an even horizon) stands for two of the full spectrum
    twice = np.full_like(weight, 2.0)
    twice[0] = 1.0
    if horizon % 2 == 0:
        twice[-1] = 1.0
    weight /= np.sqrt((twice * weight**2).sum() / horizon)
    spectrum = np.fft.rfft(white.astype(np.float64), axis=-2) * weight[:, None]
    return np.fft.irfft(spectrum, n=horizon, axis=-2).astype(np.float32)
