import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facever.gallery.indexes.exact import ExactIndex
from facever.hardware import device_name


def unit(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, size))
    vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return vectors.astype(np.float32)


def cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.sum(rows.astype(float) * query.astype(float), axis=1)


def num_screened(index: ExactIndex) -> int:
    return 0 if index._screen is None else len(index._screen)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of which the screen's end is not one."""
    monkeypatch.setattr("facever.gallery.indexes.exact._BLOCK_ROWS", 370)
    monkeypatch.setattr("facever.gallery.indexes.exact._LARGE_BLOCK_ROWS", 400)
    monkeypatch.setattr("facever.gallery.indexes.exact._SCREENED_A_SEARCH", 300)
    monkeypatch.setattr("facever.gallery.indexes.exact._WORTH_TORCH", 0)


@pytest.mark.parametrize(
    ("rows", "size", "queries", "k"), [(1, 1, 1, 1), (700, 64, 40, 9)]
)
def test_finds_what_sorting_all_cosines_finds(
    rows: int, size: int, queries: int, k: int
) -> None:
    rng = np.random.default_rng(rows)
    enrolled, asked = unit(rng, rows, size), unit(rng, queries, size)
    index = ExactIndex(np.empty((0, size), np.float32))
    index.add(enrolled[: rows // 2])
    index.add(enrolled[rows // 2 :])

    cosine, found = index.search(asked, k)

    assert len(index) == rows
    for query in range(queries):
        exact = cosines(enrolled, asked[query])
        order = np.argsort(-exact)[:k]
        assert found[query].tolist() == order.tolist()
        np.testing.assert_allclose(cosine[query], exact[order], atol=1e-6)


def test_cosines_stay_within_one_despite_rounding() -> None:
    # Lengths of 1 + 2e-7, as rounding to float32 may leave them.
    vectors = unit(np.random.default_rng(0), 200, 512) * np.float32(1 + 2e-7)
    index = ExactIndex(np.empty((0, 512), np.float32))
    index.add(vectors)

    highest, found = index.search(vectors, 1)
    lowest, _ = index.search(-vectors, 200)

    assert (found[:, 0] == np.arange(200)).all()
    assert (highest == 1).all()
    assert (lowest[:, -1] == -1).all()


@pytest.mark.parametrize("queries", [1, 2, 3, 70])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0, None])
@pytest.mark.parametrize("k", [1, 40, 1030])
def test_finds_among_allowed_rows_alone_in_blocks_and_fills_up(
    queries: int, share: float | None, k: int, small_blocks: None
) -> None:
    rng = np.random.default_rng(3)
    enrolled, asked = unit(rng, 1000, 64), unit(rng, queries, 64)
    allowed = None if share is None else rng.random(1000) < share
    index = ExactIndex(np.empty((0, 64), np.float32))
    index.add(enrolled)

    # Each search but the first screens 300 rows more.
    for num_searches in range(6):
        cosine, found = index.search(asked, k, allowed)

        rows = np.arange(1000) if allowed is None else np.flatnonzero(allowed)
        screens = queries <= 8 and k <= 1024
        assert num_screened(index) == (min(1000, 300 * num_searches) if screens else 0)
        for query in range(queries):
            num_found = min(k, len(rows))
            own = found[query, :num_found]
            assert len(set(own)) == num_found
            assert set(own) <= set(rows)
            expected = np.sort(cosines(enrolled[rows], asked[query]))[::-1][:k]
            for values in (
                cosine[query, :num_found],
                cosines(enrolled[own], asked[query]),
            ):
                np.testing.assert_allclose(values, expected, atol=1e-6)
            assert (found[query, num_found:] == -1).all()
            assert np.isneginf(cosine[query, num_found:]).all()


@pytest.mark.parametrize(
    "spread", [1e-7, 1e-4, 1e-2, 1.0], ids=lambda spread: f"spread {spread:g}"
)
def test_screens_miss_nothing_among_rows_alike(
    spread: float, small_blocks: None
) -> None:
    """Rows closer to each other than 8 bits can tell."""
    rng = np.random.default_rng(5)
    enrolled = unit(rng, 1, 32) + spread * rng.normal(size=(3000, 32))
    enrolled /= np.linalg.norm(enrolled, axis=1, keepdims=True)
    enrolled = enrolled.astype(np.float32)
    asked = np.concatenate([enrolled[:3], unit(rng, 3, 32)])
    index = ExactIndex(np.empty((0, 32), np.float32))
    index.add(enrolled)

    for _ in range(11):
        cosine, found = index.search(asked, 4)
    check(asked, cosine, found, enrolled)
    index.add(-enrolled)  # Most of them beyond what is screened.
    cosine, found = index.search(asked, 4)

    assert num_screened(index) == 3300
    check(asked, cosine, found, np.concatenate([enrolled, -enrolled]))


def check(
    asked: np.ndarray, cosine: np.ndarray, found: np.ndarray, enrolled: np.ndarray
) -> None:
    for query, unit_asked in enumerate(asked):
        exact = cosines(enrolled, unit_asked)
        np.testing.assert_allclose(cosine[query], np.sort(exact)[:-5:-1], atol=3e-7)
        np.testing.assert_allclose(cosine[query], exact[found[query]], atol=3e-7)


def test_much_is_found_without_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facever.gallery.indexes.exact._SCREENED_A_SEARCH", 10)
    monkeypatch.setattr("facever.gallery.indexes.exact._MOST_SCREENED", 9)
    monkeypatch.setattr("facever.gallery.indexes.exact._WORTH_TORCH", 0)
    monkeypatch.setattr("facever.gallery.indexes.screening.Screen.candidates", None)
    rng = np.random.default_rng(3)
    enrolled = unit(rng, 30, 8)
    index = ExactIndex(np.empty((0, 8), np.float32))
    index.add(enrolled)

    for _ in range(3):
        _, found = index.search(enrolled[:1], 10)

    assert (
        found[0].tolist() == np.argsort(-cosines(enrolled, enrolled[0]))[:10].tolist()
    )


def test_an_empty_index_finds_nothing() -> None:
    cosine, found = ExactIndex(np.empty((0, 4), np.float32)).search(
        np.eye(4, dtype=np.float32)[:1], 3
    )
    assert found.tolist() == [[-1, -1, -1]]
    assert np.isneginf(cosine).all()


def test_without_a_gpu_much_is_searched_without_torch(tmp_path: Path) -> None:
    if device_name() != "cpu":
        pytest.skip("torch is asked for the GPU")
    code = f"""
import sys
import numpy as np
from facever.gallery.folder import index_building
from facever.gallery.folder.gallery import Gallery
from facever.gallery.indexes import exact
index_building._MIN_ON_GPU = exact._SCREENED_A_SEARCH = 10
with Gallery.create({str(tmp_path / "people")!r}, 8) as gallery:
    gallery.add([f"{{n}}" for n in range(40)], np.eye(40, 8) + 1, ["1"] * 40)
    for _ in range(4):
        gallery.search(np.ones((1, 8)))
    before = "torch" in sys.modules
    exact._WORTH_TORCH = 40 * 8
    gallery.search(np.ones((1, 8)))
print(before, "torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert finished.stdout == "False True\n", finished.stderr
