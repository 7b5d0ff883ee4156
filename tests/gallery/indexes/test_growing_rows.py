import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.gallery.indexes import exact
from facever.gallery.indexes.exact import GrowingRows

SMALL = 5


@given(
    counts=st.lists(st.integers(0, 13), min_size=1, max_size=8),
    first=st.integers(0, 60),
    end=st.integers(0, 60),
    most=st.integers(1, 9),
)
def test_gives_what_one_array_holds(
    counts: list[int], first: int, end: int, most: int
) -> None:
    rows = np.arange(2 * sum(counts), dtype=np.float32).reshape(-1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_MOST_ROWS", SMALL)
        blocks = GrowingRows(rows[: counts[0]])
        filled = counts[0]
        for count in counts[1:]:
            blocks.add(rows[filled : filled + count])
            filled += count
            assert len(blocks) == filled

    place = first
    found = list(blocks.blocks(first, min(end, filled), most))
    for start, some in found:
        assert start == place
        assert 0 < len(some) <= most
        assert (some == rows[start : start + len(some)]).all()
        place += len(some)
    assert place == max(first, min(end, filled))


def test_neither_what_is_given_nor_full_blocks_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "_MOST_ROWS", SMALL)
    given_rows = np.zeros((2 * SMALL, 3), np.float32)
    blocks = GrowingRows(given_rows)
    blocks.add(np.ones((SMALL, 3), np.float32))
    before = [some for _, some in blocks.blocks(0, 3 * SMALL, 3 * SMALL)]
    blocks.add(np.ones((4 * SMALL + 1, 3), np.float32))
    after = [some for _, some in blocks.blocks(0, 3 * SMALL, 3 * SMALL)]

    assert blocks.size == 3
    assert np.shares_memory(before[0], given_rows)
    for one, other in zip(before, after, strict=True):
        assert np.shares_memory(one, other)
