import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from facever.errors import DataError
from facever.inference.vectors import unit_or_zero, unit_vectors

KINDS = st.sampled_from([np.float16, np.float32, np.float64])


@given(st.data(), KINDS)
def test_each_row_is_divided_by_its_length(data: st.DataObject, kind: type) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=6))
    vectors = data.draw(arrays(kind, shape, elements=st.floats(-100, 100, width=16)))
    lengths = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in vectors]
    expected = [
        [float(x) / length if length else 0.0 for x in row]
        for row, length in zip(vectors, lengths, strict=True)
    ]
    found = unit_or_zero(vectors, dtype=np.float64)
    assert found.dtype == np.float64
    assert unit_or_zero(vectors).dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    if all(lengths):
        np.testing.assert_array_equal(unit_vectors(vectors, dtype=np.float64), found)
    else:
        with pytest.raises(DataError, match=f"embedding {lengths.index(0.0)} of"):
            unit_vectors(vectors)


def test_float32_vectors_of_any_length_are_scaled() -> None:
    vectors = np.array([[3e38, 3e38], [1e-38, 0]], np.float32)
    np.testing.assert_allclose(unit_vectors(vectors), [[0.5**0.5] * 2, [1, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0])
def test_a_vector_without_a_direction_is_named(bad: float) -> None:
    vectors = np.array([[1, 2], [bad, bad], [0, 0]], np.float32)
    with pytest.raises(
        DataError,
        match=r"embedding 1 of 3 \(b\.jpg\) is all zero or not finite, as are 1 others",
    ):
        unit_vectors(vectors, ["a.jpg", "b.jpg", "c.jpg"])


def test_what_is_rounding_alone_has_no_direction() -> None:
    vectors = np.array([[1e-7, 0], [1e-3, 0]])
    np.testing.assert_array_equal(unit_or_zero(vectors, 1e-6), [[0, 0], [1, 0]])


def test_what_is_given_stays_as_it_is() -> None:
    vectors = np.array([[3.0, 4.0]])
    unit_vectors(vectors)
    assert vectors.tolist() == [[3.0, 4.0]]
