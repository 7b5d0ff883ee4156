from collections.abc import Callable

import numpy as np
import pytest

from facever.gallery.screening import Screen, can_screen

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

    rough, slack = Screen(rows).cosines(queries)

    exact = queries.astype(float) @ rows.astype(float).T
    assert (np.abs(rough - exact) <= slack[:, None]).all()


@pytest.mark.parametrize(("num_queries", "bound"), [(1, 0.02), (20, 0.04)])
@pytest.mark.parametrize("dim", [128, 512])
def test_the_bound_is_of_use(dim: int, num_queries: int, bound: float) -> None:
    rng = np.random.default_rng(0)
    rows = unit(gaussian(rng, 200, dim))
    _, slack = Screen(rows).cosines(unit(gaussian(rng, num_queries, dim)))
    assert (slack < bound).all()
