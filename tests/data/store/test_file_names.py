import os
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.store.exporting import DistinctNames, file_name

names = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("./\\%~:\0\n")
    | st.sampled_from([os.fsdecode(b"\xff"), "\N{COMBINING ACUTE ACCENT}"]),
    max_size=80,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Zoë Müller-王芳", "Zoë Müller-王芳"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("/root", "%2Froot"),
        ("C:\\x", "C%3A%5Cx"),
        (".hidden", "%2Ehidden"),
        ("J. R. ", "J. R.%20"),
        ("100%", "100%25"),
        ("a\0b\n", "a%00b%0A"),
        (os.fsdecode(b"\xff"), "%FF"),
    ],
)
def test_names(name, expected):
    assert file_name(name) == expected


@given(names)
def test_a_name_is_one_harmless_part_of_a_path(name):
    chosen = file_name(name)
    assert chosen not in ("", ".", "..")
    assert PurePosixPath("a", chosen).parts == ("a", chosen)
    assert PureWindowsPath("a", chosen).parts == ("a", chosen)
    assert len(chosen.encode()) <= 200
    assert chosen.isprintable()
    if "%~" not in chosen:
        expected = "" if chosen == "%" else unquote(chosen, errors="surrogateescape")
        assert expected == name


@given(st.sets(names, min_size=2, max_size=2))
def test_different_names_stay_different(pair):
    one, other = pair
    assert file_name(one) != file_name(other)


def test_long_names_are_cut_and_stay_different():
    one, other = "王" * 150 + "a", "王" * 150 + "b"
    assert file_name(one) != file_name(other)
    assert file_name(one).startswith("王" * 50)
    assert file_name("x" * 200) == "x" * 200
    assert file_name("x" * 201) != "x" * 201


def test_names_that_are_one_where_case_is_none():
    given_names = DistinctNames()
    assert given_names.give("Ann", 0) == "Ann"
    assert given_names.give("ANN", 7) == "ANN~7"
    assert given_names.give("ann~7", 8) == "ann~7~8"
    assert given_names.give("Bob", 9) == "Bob"
