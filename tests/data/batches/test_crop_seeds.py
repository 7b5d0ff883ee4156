import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facever.data.batches.crop_seeds import crop_seeds

MASK = 2**64 - 1


def mix13(bits: int) -> int:
    """SplitMix64's finaliser in whole numbers of any size."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


@given(
    st.integers(0, 2**70),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 3)), max_size=9),
)
def test_seeds_are_those_of_the_definition(
    seed: int, epoch: int, members: list[tuple[int, int]]
) -> None:
    rows, copies = np.array(members, np.int64).reshape(-1, 2).T
    (salt,) = np.random.SeedSequence((seed, epoch, 1)).generate_state(1, np.uint64)
    expected = [mix13((mix13(row ^ int(salt)) + copy) & MASK) for row, copy in members]
    assert crop_seeds(seed, epoch, rows, copies).tolist() == expected


def test_every_row_epoch_copy_and_seed_has_bits_of_its_own() -> None:
    rows = np.arange(50_000)
    drawn = [
        crop_seeds(seed, epoch, rows, np.full_like(rows, copy))
        for seed, epoch, copy in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    seeds = np.concatenate(drawn)
    assert len(set(seeds.tolist())) == len(seeds)
    # Each of 64 bits is a fair coin: deviation sqrt(200,000) / 2 = 224 ...
    bits = seeds[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    assert np.abs(bits.sum(axis=0).astype(int) - 100_000).max() < 6 * 224
    # ... and no two neighbouring rows share more than chance has it.
    flips = np.bitwise_count(seeds[1:] ^ seeds[:-1]).astype(float)
    assert abs(flips.mean() - 32) < 6 * 4 / len(flips) ** 0.5
