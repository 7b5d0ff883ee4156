import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.csv_tables import read_csv, write_csv
from facever.errors import DataError, FileError

# Any text that a file name can be, also of bytes that are not UTF-8.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([os.fsdecode(bytes([byte])) for byte in (0x80, 0xC3, 0xFF)])
    | st.sampled_from(',"\n\r# \N{ZERO WIDTH SPACE}'),
    max_size=12,
)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6))
def test_names_come_back_exactly_and_as_the_csv_module_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, ["a", "b"], rows)
    found = [(row["a"], row["b"]) for row in read_csv(path, ["a", "b"], exact=True)]
    assert found == rows
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], *map(list, rows)]


def test_numbers_and_nothing_are_written_as_text(tmp_path: Path) -> None:
    write_csv(tmp_path / "t", ["a", "b", "c"], [(1, 0.1, None)])
    assert (tmp_path / "t").read_bytes() == b"a,b,c\n1,0.1,\n"


@pytest.mark.parametrize(
    "text",
    [
        "name,part\nAnn,1\nBob,2\n",
        "part,name\r\n1,Ann\r\n2,Bob",
        "\ufeff\nname, part \n\n Ann ,1\n , \nBob,\t2\n",
        'name,part\n "Ann","1"\nBob,2\n',
    ],
    ids=["plain", "another order and line ends", "spaces and blanks", "quotes"],
)
def test_spellings_of_people_and_their_programs(tmp_path: Path, text: str) -> None:
    rows = list(read_csv(write(tmp_path, text), ["name", "part"]))
    assert [(row["name"], row["part"]) for row in rows] == [("Ann", "1"), ("Bob", "2")]


def test_optional_columns_and_others(tmp_path: Path) -> None:
    path = write(tmp_path, ",x,a,,b\n0,1,2,3,4\n")
    [row] = read_csv(path, ["a"], ["b", "c"], ignore_others=True)
    assert row.values == {"a": "2", "b": "4"}
    assert "b" in row
    assert "c" not in row
    assert row.place == f"{path}, line 2"
    with pytest.raises(DataError, match="a and perhaps b, c; got , x, a, "):
        list(read_csv(path, ["a"], ["b", "c"]))


def test_the_line_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '\na\n"1\n2"\n\n3\n')
    assert [row.line for row in read_csv(path, ["a"])] == [4, 6]


def test_a_wrong_value_is_named_with_file_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,x\n")
    [row] = read_csv(path, ["a", "b"])
    expected = f"{path}, line 2, column b: expected a number, got 'x'"
    assert str(row.wrong("b", "a number")) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", " is empty; expected CSV in UTF-8 with the columns a, b"),
        ("\n\n", " is empty; expected CSV"),
        ("1,2\n", ", line 1: expected CSV in UTF-8 with the columns a, b; got 1, 2$"),
        ("a\n1\n", ", line 1: expected CSV .*; got a$"),
        ("a,b,c\n1,2,3\n", ", line 1: .*; got a, b, c$"),
        ("a,b,a\n1,2,3\n", ", line 1: expected each column once, got 'a' 2 times"),
        ("a,b\n1\n", r", line 2: expected 2 values \(a, b\), got 1: '1'$"),
        ("a,b\n1,2,3\n", ", line 2: .* got 3: '1,2,3'$"),
        ('a,b\n"1"x,2\n', r", line 2: not CSV \(.*\); expected CSV"),
        ('a,b\n"1,2\n', ", line 2: not CSV"),
        (b"a,b\n\xff,1\n", r" is not text in UTF-8 \(invalid start byte at byte 4\)"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=f"^{path}{says}"):
        list(read_csv(path, ["a", "b"]))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*none: No such file or direc"):
        list(read_csv(tmp_path / "none", ["a"]))
    with pytest.raises(
        FileError, match=r"cannot read .*: not a file, but a pipe.*; expected CSV"
    ):
        list(read_csv(tmp_path, ["a"]))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@ann/1.jpg", "'@ann/1.jpg"),
        ("+ann", "'+ann"),
        ("-ann", "'-ann"),
        ("\tann", "'\tann"),
        ("'=1", "''=1"),
        # No formulas: numbers, names, and an apostrophe of a name's own.
        ("-0.25", "-0.25"),
        ("+1e3", "+1e3"),
        ("-inf", "-inf"),
        ("'t Hooft", "'t Hooft"),
        ("ann=1", "ann=1"),
        ("'", "'"),
        ("", ""),
    ],
)
def test_formulas_are_escaped_for_people_and_read_back(
    tmp_path: Path, text: str, written: str
) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, ["name", "other"], [(text, "x")], for_people=True)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["name", "other"], [written, "x"]]
    [row] = read_csv(path, ["name", "other"], exact=True, for_people=True)
    assert row["name"] == text
    write_csv(path, ["name", "other"], [(text, "x")])
    [row] = read_csv(path, ["name", "other"], exact=True)
    assert row["name"] == text


@given(text=st.text(alphabet="'=+-@\t a1", max_size=6))
def test_every_text_comes_back_from_a_table_for_people(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    write_csv(path, ["name", "other"], [(text, "x")], for_people=True)
    [row] = read_csv(path, ["name", "other"], exact=True, for_people=True)
    assert row["name"] == text
