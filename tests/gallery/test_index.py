import numpy as np
import pytest

from facever.gallery.index import ExactIndex


def unit(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, size))
    vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return vectors.astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "size", "queries", "k"), [(1, 1, 1, 1), (700, 64, 40, 9)]
)
def test_finds_what_sorting_all_cosines_finds(
    rows: int, size: int, queries: int, k: int
) -> None:
    rng = np.random.default_rng(rows)
    enrolled, asked = unit(rng, rows, size), unit(rng, queries, size)
    index = ExactIndex(size)
    index.add(enrolled[: rows // 2])
    index.add(enrolled[rows // 2 :])

    cosine, found = index.search(asked, k)

    assert len(index) == rows
    for query in range(queries):
        exact = [float(np.dot(row.astype(float), asked[query])) for row in enrolled]
        order = sorted(range(rows), key=lambda row: -exact[row])[:k]
        assert found[query].tolist() == order
        np.testing.assert_allclose(
            cosine[query], [exact[row] for row in order], atol=1e-6
        )


def test_cosines_stay_within_one_despite_rounding() -> None:
    # Lengths of 1 + 2e-7, as rounding to float32 may leave them.
    vectors = unit(np.random.default_rng(0), 200, 512) * np.float32(1 + 2e-7)
    index = ExactIndex(512)
    index.add(vectors)

    highest, found = index.search(vectors, 1)
    lowest, _ = index.search(-vectors, 200)

    assert (found[:, 0] == np.arange(200)).all()
    assert (highest == 1).all()
    assert (lowest[:, -1] == -1).all()


@pytest.mark.parametrize("queries", [1, 2, 3, 70])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0, None])
def test_finds_among_allowed_rows_alone_in_blocks_and_fills_up(
    queries: int, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facever.gallery.index._BLOCK_ROWS", 7)
    rng = np.random.default_rng(3)
    enrolled, asked = unit(rng, 30, 8), unit(rng, queries, 8)
    allowed = None if share is None else rng.random(30) < share
    index = ExactIndex(8)
    index.add(enrolled)

    cosine, found = index.search(asked, 40, allowed)

    rows = range(30) if allowed is None else np.flatnonzero(allowed)
    for query in range(queries):
        exact = {int(r): float(enrolled[r].astype(float) @ asked[query]) for r in rows}
        order = sorted(exact, key=lambda row: -exact[row])[:40]
        fill = 40 - len(order)
        assert found[query].tolist() == order + [-1] * fill
        expected = [exact[row] for row in order] + [-np.inf] * fill
        np.testing.assert_allclose(cosine[query], expected, atol=1e-6)


def test_an_empty_index_finds_nothing() -> None:
    cosine, found = ExactIndex(4).search(np.eye(4, dtype=np.float32)[:1], 3)
    assert found.tolist() == [[-1, -1, -1]]
    assert np.isneginf(cosine).all()
