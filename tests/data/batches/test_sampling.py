import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.batches.sampling import (
    ClassmateSampler,
    EpochSampler,
    split_identities,
)
from facever.errors import DataError, ParameterError

sizes = st.integers(1, 60).flatmap(
    lambda photos: st.tuples(st.just(photos), st.integers(1, photos))
)


@given(sizes, st.integers(0, 2**40), st.integers(0, 3))
def test_an_epoch_repeats_no_photo(
    size: tuple[int, int], seed: int, epoch: int
) -> None:
    photos, batch_size = size
    sampler = EpochSampler(photos, batch_size, seed)
    first = epoch * sampler.batches_an_epoch
    batches = [sampler.draw(first + i).photos for i in range(sampler.batches_an_epoch)]
    assert all(len(batch) == batch_size for batch in batches)
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen)
    assert len(seen) > photos - batch_size, "only what fills no batch is left out"
    assert set(seen.tolist()) <= set(range(photos))


@given(sizes, st.integers(0, 99), st.lists(st.integers(0, 200), min_size=1))
def test_a_batch_depends_on_the_step_alone(
    size: tuple[int, int], seed: int, steps: list[int]
) -> None:
    used = EpochSampler(*size, seed)
    for step in steps:
        fresh = EpochSampler(*size, seed)
        np.testing.assert_array_equal(used.draw(step).photos, fresh.draw(step).photos)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    one, other = EpochSampler(50, 50, 1), EpochSampler(50, 50, 2)
    draws = [one.draw(0), one.draw(1), other.draw(0)]
    orders = [draw.photos for draw in draws] + [np.arange(50)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_every_photo_gets_its_turn() -> None:
    sampler = EpochSampler(10, 7, 0)
    counts = np.bincount(np.concatenate([sampler.draw(i).photos for i in range(2000)]))
    # Each is drawn with chance 0.7: mean 1400, deviation sqrt(2000 * 0.21) = 20.5.
    assert len(counts) == 10
    assert np.abs(counts - 1400).max() < 5 * 20.5


@pytest.mark.parametrize("batch_size", [0, 6])
def test_batch_size_is_within_the_set(batch_size: int) -> None:
    with pytest.raises(ParameterError, match=rf"\[1, 5\].* got {batch_size}"):
        EpochSampler(5, batch_size, 0)


@given(
    st.lists(st.integers(0, 9), min_size=12, max_size=80),
    st.integers(2, 4),
    st.integers(0, 99),
    st.integers(0, 2),
)
def test_batches_hold_groups_of_classmates_and_an_epoch_everybody(
    drawn: list[int], group: int, seed: int, epoch: int
) -> None:
    labels = np.array(drawn)
    sampler = ClassmateSampler(labels, group, group, seed)
    first = epoch * sampler.batches_an_epoch
    batches = [sampler.draw(first + i).photos for i in range(sampler.batches_an_epoch)]
    seen = np.concatenate(batches)
    assert set(seen.tolist()) == set(range(len(labels)))
    for batch in batches:
        assert len(batch) == group
        assert len(set(labels[batch].tolist())) == 1
    # A photo comes twice only to fill up the last group of its identity.
    for label in set(drawn):
        own = int((labels == label).sum())
        assert (labels[seen] == label).sum() == -(-own // group) * group
    full = [batch for batch in batches if (labels == labels[batch[0]]).sum() >= group]
    assert all(len(set(batch.tolist())) == group for batch in full)


def test_classmates_depend_on_the_step_alone_and_are_mixed_anew() -> None:
    labels = np.arange(40) % 5
    used = ClassmateSampler(labels, 8, 4, 1)
    for step in (7, 0, 3, 0, 12):
        fresh = ClassmateSampler(labels, 8, 4, 1)
        np.testing.assert_array_equal(used.draw(step).photos, fresh.draw(step).photos)
    other = ClassmateSampler(labels, 8, 4, 2)
    draws = [used.draw(0), used.draw(used.batches_an_epoch), other.draw(0)]
    assert len({tuple(draw.photos.tolist()) for draw in draws}) == 3


@pytest.mark.parametrize(
    ("batch_size", "group", "message"),
    [
        (8, 3, "divide batch_size, 8, got 3"),
        (8, 1, "at least 2 .* got 1"),
        (12, 2, "at most 10, .* groups of 2, got 12"),
    ],
)
def test_classmates_must_fit_the_batch(
    batch_size: int, group: int, message: str
) -> None:
    # Five identities with one photo each: five groups of two.
    with pytest.raises(ParameterError, match=message):
        ClassmateSampler(np.arange(5), batch_size, group, 0)


@st.composite
def identities(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Labels in which every identity has a crop, and how many to hold out."""
    count = draw(st.integers(2, 12))
    more = draw(st.lists(st.integers(0, count - 1), max_size=30))
    labels = draw(st.permutations([*range(count), *more]))
    return np.array(labels, np.int64), draw(st.integers(0, count - 2))


@given(identities(), st.integers(0, 99))
def test_a_split_holds_out_whole_identities(
    drawn: tuple[np.ndarray, int], seed: int
) -> None:
    labels, num_held_out = drawn
    split = split_identities(labels, num_held_out, seed)
    rows, others = split.rows.tolist(), split.held_out.tolist()
    assert sorted(rows + others) == list(range(len(labels)))
    hidden = {int(labels[row]) for row in others}
    assert len(hidden) == num_held_out
    assert hidden.isdisjoint(labels[split.rows].tolist())
    # Class indexes number the rest without a gap, in their order.
    rest = sorted(set(range(int(labels.max()) + 1)) - hidden)
    assert split.num_classes == len(rest)
    expected = [rest.index(labels[row]) for row in rows]
    assert split.labels.tolist() == expected
    again = split_identities(labels, num_held_out, seed)
    assert again.held_out.tolist() == others


def test_the_seed_draws_who_is_held_out() -> None:
    labels = np.arange(100)
    held = {tuple(split_identities(labels, 5, seed).held_out) for seed in range(10)}
    assert len(held) == 10


@pytest.mark.parametrize(("count", "held_out"), [(0, 0), (1, 0), (3, 2), (3, 9)])
def test_two_identities_are_the_least_to_train_on(count: int, held_out: int) -> None:
    with pytest.raises(DataError, match=f"at least 2 .* show {count}: ") as refused:
        split_identities(np.arange(count), held_out, 0)
    # The key and its limit, where it is the key that is wrong.
    says = f"data.validation_identities must be at most {count - 2}, got {held_out};"
    assert (says in str(refused.value)) == (count >= 2)
    assert "facever gallery add" in str(refused.value)


def test_fewer_than_none_cannot_be_held_out() -> None:
    with pytest.raises(ParameterError, match="num_held_out must be >= 0, got -1"):
        split_identities(np.arange(9), -1, 0)
