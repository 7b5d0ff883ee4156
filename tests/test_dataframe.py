"""Tables of results; pandas itself is not among what facever is tested with."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facever import to_dataframe
from facever.errors import ParameterError
from facever.faces.detection import Face
from facever.gallery.entries import Match


@pytest.fixture
def pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of pandas: DataFrame gives back the rows it is made of."""
    stub = SimpleNamespace(DataFrame=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "pandas", stub)


FACE = Face(np.zeros((5, 2)), np.array([1.0, 2, 3, 4]), 0.5)
ANN = Match("Ann", 0.75, "ann.jpg", "1", {"team": "blue"})
BOB = Match("Bob", 0.5, "bob.jpg", "2")


@pytest.mark.usefixtures("pandas")
def test_each_result_is_a_row() -> None:
    assert to_dataframe([FACE]) == [
        {"box": [1, 2, 3, 4], "landmarks": [[0, 0]] * 5, "score": 0.5}
    ]
    assert to_dataframe(face for face in [FACE]) == to_dataframe([FACE])
    assert to_dataframe([]) == []


@pytest.mark.usefixtures("pandas")
def test_matches_of_several_queries_are_told_apart() -> None:
    ann: dict[str, Any] = {
        "name": "Ann",
        "cosine": 0.75,
        "source": "ann.jpg",
        "id": "1",
        "fields": {"team": "blue"},
    }
    bob = {"name": "Bob", "cosine": 0.5, "source": "bob.jpg", "id": "2", "fields": {}}
    assert to_dataframe([ANN, BOB]) == [ann, bob]
    assert to_dataframe([[ANN, BOB], [], [BOB]]) == [
        {"query": 0, **ann},
        {"query": 0, **bob},
        {"query": 2, **bob},
    ]
    assert next(iter(to_dataframe([[ANN]])[0])) == "query"


def test_without_pandas_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ParameterError, match="not installed: pip install pandas"):
        to_dataframe([FACE])
