from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facever.gallery.indexes import screening
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.screening import Screen, can_screen

pytestmark = pytest.mark.skipif(not can_screen(), reason="no fast 8-bit products here")


def gaussian(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    return rng.normal(size=(rows, dim))


def peaked(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """One large number beside many that eight bits cannot tell from zero."""
    values = 1e-3 * rng.normal(size=(rows, dim))
    values[np.arange(rows), rng.integers(0, dim, rows)] = 1
    return values


def constant(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """The largest sums there can be: where 16 bits do not hold them, they show."""
    return np.sign(rng.normal(size=(rows, 1))) * np.ones((rows, dim))


def halfway(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Every number but the first halfway between two levels: the largest error."""
    values = rng.integers(-60, 60, size=(rows, dim)) + 0.499
    values[:, 0] = 127
    return values


KINDS = [gaussian, peaked, constant, halfway]


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("num_queries", [1, 20])
@pytest.mark.parametrize("dim", [1, 2, 31, 128, 512])
@pytest.mark.parametrize("of_queries", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("of_rows", KINDS, ids=lambda kind: kind.__name__)
def test_no_cosine_is_further_off_than_said(
    of_rows: Callable[..., np.ndarray],
    of_queries: Callable[..., np.ndarray],
    dim: int,
    num_queries: int,
) -> None:
    rng = np.random.default_rng(dim)
    rows = unit(of_rows(rng, 200, dim))
    queries = unit(of_queries(rng, num_queries, dim))

    screen = Screen(dim)
    for some in (rows[:1], rows[1:90], rows[90:]):
        screen.add(some)

    rough, slack = screen.cosines(queries, slice(0, 200))

    exact = queries.astype(float) @ rows.astype(float).T
    assert len(screen) == 200
    assert (np.abs(rough.numpy() - exact) <= slack.numpy()[:, None]).all()


@pytest.mark.parametrize("dim", [128, 512])
def test_the_bound_is_of_use(dim: int) -> None:
    rng = np.random.default_rng(0)
    rows = unit(gaussian(rng, 200, dim))
    screen = Screen(dim)
    screen.add(rows)
    queries = unit(gaussian(rng, 20, dim))
    assert (screen.cosines(queries, slice(0, 200))[1] < 0.02).all()


@pytest.mark.parametrize("num_best", [0, 3, 5])
@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1e-2, 0.1])
def test_candidates_hold_the_best_where_many_are_as_good(
    spread: float, num_best: int
) -> None:
    """30 of 400 rows are closer to the query than 8 bits can tell apart."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = gaussian(rng, 400, 64)
        queries = unit(gaussian(rng, 2, 64))
        rows[:30] = queries[seed % 2] + spread * gaussian(rng, 30, 64) / 8
        rows = unit(rng.permutation(rows))
        screen = Screen(64)
        screen.add(rows)
        exact = queries.astype(float) @ rows.astype(float).T
        # Of the five best, some are known from elsewhere: the third best of these rows
        # is lower than these, then.
        best = np.full((2, 5), -np.inf, np.float32)
        third = np.sort(exact, axis=1)[:, -3, None].astype(np.float32)
        best[:, :num_best] = np.nextafter(third, np.float32(1))

        found = screen.candidates(queries, slice(0, 400), None, best)

        assert found is not None
        for query in range(2):
            order = np.argsort(-exact[query])[: 2 if num_best == 5 else 5]
            assert set(order) <= set(found[query].tolist())


def test_candidates_hold_the_best_when_every_cosine_is_as_wrong_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = np.linspace(-1, 1, 400)[None]
    slack = 0.02  # Of four rows' distance.
    best = np.full((1, 5), -np.inf, np.float32)
    for seed in range(100):
        signs = np.random.default_rng(seed).choice([-0.999, 0.999], exact.shape)
        rough = torch.tensor(exact + slack * signs, dtype=torch.float32)
        found = (rough, torch.tensor([slack]))
        monkeypatch.setattr(Screen, "cosines", lambda *_, found=found: found)
        queries = exact.astype(np.float32)  # Any of this shape.
        [places] = Screen(64).candidates(queries, slice(0, 400), None, best) or []
        assert set(range(395, 400)) <= set(places.tolist())
        assert len(places) < 20


def test_gives_up_where_all_rows_are_alike() -> None:
    screen = Screen(64)
    screen.add(
        unit(np.ones((400, 64)) + 1e-3 * gaussian(np.random.default_rng(0), 400, 64))
    )
    best = np.full((1, 5), -np.inf, np.float32)
    assert screen.candidates(unit(np.ones((1, 64))), slice(0, 400), None, best) is None


def test_the_bound_is_that_of_the_worst_row_so_far() -> None:
    rng = np.random.default_rng(0)
    screen = Screen(64)
    queries = unit(gaussian(rng, 1, 64))
    slacks = []
    for kind in (peaked, gaussian, peaked):
        screen.add(unit(kind(rng, 50, 64)))
        slacks.append(float(screen.cosines(queries, slice(0, 50))[1]))
    assert slacks[0] < slacks[1] <= slacks[2]


@pytest.fixture
def checked_again() -> Iterator[None]:
    screening._is_product_right.cache_clear()
    yield
    screening._is_product_right.cache_clear()


def wrong(queries: torch.Tensor, levels: torch.Tensor, _: object) -> torch.Tensor:
    """A product that leaves out the last row of 8-bit numbers."""
    product = queries.float() @ levels.T.float()
    product[:, -1] = 0
    return product.bfloat16()


def refusing(*_: object) -> torch.Tensor:
    raise NotImplementedError("no such operator on the CPU")


@pytest.mark.parametrize(
    "operators",
    [{}, {"_weight_int8pack_mm": wrong}, {"_weight_int8pack_mm": refusing}],
    ids=["missing", "wrong", "refusing"],
)
def test_exact_search_does_without_a_product_that_is_missing_or_wrong(
    operators: dict[str, object], monkeypatch: pytest.MonkeyPatch, checked_again: None
) -> None:
    monkeypatch.setattr("facever.gallery.indexes.exact._SCREENED_A_SEARCH", 300)
    rng = np.random.default_rng(1)
    rows, queries = unit(gaussian(rng, 900, 64)), unit(gaussian(rng, 2, 64))
    answers = []
    for is_whole in (True, False):
        if not is_whole:
            aten = SimpleNamespace(**operators)
            monkeypatch.setattr(torch, "ops", SimpleNamespace(aten=aten))
            screening._is_product_right.cache_clear()
        assert can_screen() is is_whole
        index = ExactIndex(np.empty((0, 64), np.float32))
        index.add(rows)
        for _ in range(4):
            cosine, found = index.search(queries, 7)
        assert (index._screen is not None) is is_whole
        answers.append((cosine, found))
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-6)
    exact = queries.astype(float) @ rows.astype(float).T
    np.testing.assert_array_equal(answers[1][1], np.argsort(-exact, axis=1)[:, :7])


def test_the_product_is_checked_once(
    monkeypatch: pytest.MonkeyPatch, checked_again: None
) -> None:
    assert can_screen()
    monkeypatch.setattr(screening, "_multiply", refusing)
    assert can_screen()
