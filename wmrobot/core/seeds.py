"""One seed, many independent ones. Pure Python: simulator processes import it."""

import hashlib


def derive_seed(seed: int, name: str) -> int:
    """Seed of the stream `name` under `seed`: independent of the order in which streams are made.

    Args:
        seed: Any integer.
        name: What the stream is for; rows of a batch put their index in it.

    Returns:
        63 bits, which is what torch takes. `numpy.random.RandomState` takes 32: see `legacy_seed`.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def legacy_seed(seed: int) -> int:
    """The 32 bits of a seed that `numpy.random.RandomState` (so dm_control) and Gymnasium take."""
    return seed % 2**32
