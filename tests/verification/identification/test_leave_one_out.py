import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError, ParameterError
from facever.verification.identification import leave_one_out as open_set
from facever.verification.identification.leave_one_out import (
    LeaveOneOut,
    leave_one_out,
    similar_strangers,
    threshold_at_fpir,
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    codes=st.lists(st.sampled_from([3, 7, 8]), min_size=1, max_size=12),
    block=st.sampled_from([1, 30, 10**6]),
    data=st.data(),
)
def test_each_photo_is_compared_with_every_other(
    seed: int, codes: list[int], block: int, data: st.DataObject
) -> None:
    # Small whole numbers before scaling: ties, equal and opposite directions.
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (len(codes), 3)) + np.array([0, 0, 0.5])
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")
    rows = st.lists(st.integers(0, len(codes) - 1), unique=True)
    probes = np.array(data.draw(rows), np.int64)
    patch = pytest.MonkeyPatch()
    patch.setattr(open_set, "_BLOCK_SCORES", block)
    found = leave_one_out(units, np.array(codes), probes)
    patch.undo()

    for place, probe in enumerate(probes):
        scores: dict[int, float] = {}
        for row, code in enumerate(codes):
            if row != probe:
                cosine = float(units[row].astype(float) @ units[probe].astype(float))
                scores[code] = max(scores.get(code, -np.inf), cosine)
        own = scores.pop(codes[probe], -np.inf)
        stranger = max(scores.values(), default=-np.inf)
        assert found.own[place] == pytest.approx(own, abs=1e-6)
        assert found.stranger[place] == pytest.approx(stranger, abs=1e-6)
        higher = sum(score > own + 1e-5 for score in scores.values())
        at_least = sum(score > own - 1e-5 for score in scores.values())
        if np.isneginf(own):
            assert found.rank[place] == 0
        else:
            assert 1 + higher <= found.rank[place] <= 1 + at_least
        if np.isneginf(stranger):
            assert found.nearest[place] == -1
        else:
            nearest = int(found.nearest[place])
            assert codes[nearest] != codes[probe]
            cosine = units[nearest] @ units[probe]
            assert cosine == pytest.approx(stranger, abs=1e-6)


def looked_up(stranger: list[float]) -> LeaveOneOut:
    count = len(stranger)
    return LeaveOneOut(
        own=np.array([0.9, 0.3, 0.8, -np.inf] * count, np.float32)[:count],
        stranger=np.array(stranger, np.float32),
        nearest=np.arange(count)[::-1].copy(),
        rank=np.array([1, 2, 1, 0] * count)[:count],
    )


def test_thresholds_by_hand() -> None:
    found = looked_up([0.2, 0.5, 0.1, 0.4])
    # One of four may be taken for somebody: midway between the highest two.
    assert threshold_at_fpir(found, 0.25) == pytest.approx(0.45)
    assert threshold_at_fpir(found, 0.49) == pytest.approx(0.45)
    assert threshold_at_fpir(found, 0.5) == pytest.approx(0.3)
    rates = open_set.open_set(found, 0.45)
    # Of three mated photos two have rank 1 and 0.9 and 0.8 are above.
    assert (rates.fpir, rates.tpir) == (0.25, pytest.approx(2 / 3))
    assert (rates.num_unknown, rates.num_mated) == (4, 3)
    assert open_set.open_set(found, 0.85).tpir == pytest.approx(1 / 3)


def test_similar_strangers_are_named_once_most_similar_first() -> None:
    found = LeaveOneOut(
        own=np.ones(4, np.float32),
        stranger=np.array([0.7, 0.9, 0.7, 0.2], np.float32),
        nearest=np.array([12, 15, 10, 11]),
        rank=np.ones(4, np.int64),
    )
    pairs = similar_strangers(found, np.array([10, 11, 12, 13]), 0.2)
    assert [(p.first, p.second) for p in pairs] == [(11, 15), (10, 12)]
    assert [p.cosine for p in pairs] == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("scores", [[0.5] * 4, [0.1, 0.5, 0.5, 0.5]])
def test_tied_strangers_are_all_nobody(scores: list[float]) -> None:
    threshold = threshold_at_fpir(looked_up(scores), 0.25)
    assert threshold >= 0.5
    assert open_set.open_set(looked_up(scores), threshold).fpir == 0


def test_refuses_rates_that_photos_cannot_tell() -> None:
    with pytest.raises(ParameterError, match=r"fpir must be in \(0, 1\), got 1"):
        threshold_at_fpir(looked_up([0.5]), 1.0)
    with pytest.raises(DataError, match=r"at least 100 photos .*, there are 4;"):
        threshold_at_fpir(looked_up([0.5] * 4), 0.01)
    with pytest.raises(DataError, match="there are 0;"):
        threshold_at_fpir(looked_up([-np.inf] * 4), 0.01)
