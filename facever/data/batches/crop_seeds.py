"""One random number for each crop of each epoch, in whatever batch or process it is."""

import numpy as np
from jaxtyping import Int64, UInt64


def crop_seeds(
    seed: int,
    epoch: int,
    rows: Int64[np.ndarray, " batch"],
    copies: Int64[np.ndarray, " batch"],
) -> UInt64[np.ndarray, " batch"]:
    """Seeds of the random changes of crops.

    Args:
        seed: The run's seed, at least 0.
        epoch: Number of the epoch, from 0.
        rows: Rows of the crops in their store.
        copies: How often each crop was drawn before in this epoch.

    Returns:
        64 random bits each; rows of one epoch and copy never share them.
    """
    salt = np.random.SeedSequence((seed, epoch, 1)).generate_state(1, np.uint64)
    return _mixed(_mixed(rows.astype(np.uint64) ^ salt) + copies.astype(np.uint64))


def _mixed(bits: UInt64[np.ndarray, " batch"]) -> UInt64[np.ndarray, " batch"]:
    """Mix13, the finaliser of SplitMix64: a permutation of the 64-bit numbers.

    References:
        Steele et al., Fast splittable pseudorandom number generators, 2014.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed
