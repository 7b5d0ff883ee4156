from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError, FileError
from facever.verification.protocols import template_lists
from facever.verification.protocols.template_lists import (
    TemplateList,
    read_photo_scores,
    read_template_pairs,
    read_template_subjects,
    read_templates,
)

# As IJB-C's: the templates of one medium and of two, and media of one number in two.
TEMPLATES = """1.jpg 1 69544
2.jpg 1 69544
3.jpg 1 7
4 b.jpg 30 7

5.jpg 12 8
"""


@pytest.fixture
def listed(tmp_path: Path) -> TemplateList:
    path = tmp_path / "tid_mid.txt"
    path.write_text(TEMPLATES)
    return read_templates(path)


def test_templates_by_hand(listed: TemplateList) -> None:
    assert listed.photos == ["1.jpg", "2.jpg", "3.jpg", "4 b.jpg", "5.jpg"]
    assert listed.ids.tolist() == [1, 12, 30]
    assert listed.template.tolist() == [0, 0, 0, 2, 1]
    assert listed.medium.tolist() == [69544, 69544, 7, 7, 8]
    assert listed.num_media == 4
    assert listed.find(np.array([30, 2, 31, 0, 1])).tolist() == [2, -1, -1, -1, 0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("6.jpg 1", "expected lines such as '1.jpg 1 69544'"),
        ("6.jpg 1 -5", "got '6.jpg 1 -5'"),
        ("6.jpg one 5", "got '6.jpg one 5'"),
        ("3.jpg 1 9", "expected a new photo of template 1, got 3.jpg of line 3 again"),
    ],
)
def test_wrong_lines_of_templates(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "tid_mid.txt"
    path.write_text(f"{TEMPLATES}{line}\n")
    with pytest.raises(DataError, match=r"tid_mid.txt, line 7: ") as caught:
        read_templates(path)
    assert said in str(caught.value)


def test_pairs_in_chunks_with_blank_lines(
    tmp_path: Path, listed: TemplateList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_lists, "_CHUNK_LINES", 2)
    path = tmp_path / "pairs.txt"
    path.write_text("\ufeff1 12 1\r\n\n\n \n30 1 0\n12\t30  0", encoding="utf-8")
    pairs = read_template_pairs(path, listed)
    assert pairs.left.tolist() == [0, 2, 1]
    assert pairs.right.tolist() == [1, 0, 2]
    assert pairs.same.tolist() == [True, False, False]
    assert len(pairs) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 12", "expected lines such as '1 11065 1'"),
        ("1 12 0 1", "got '1 12 0 1'"),
        ("1 12 2", "got '1 12 2'"),
        ("1 12.5 1", "got '1 12.5 1'"),
        ("1 b.jpg 1", "got '1 b.jpg 1'"),
        ("# 1 12 1", "got '# 1 12 1'"),
        ("1 99999999999999999999 1", "got '1 99999999999999999999 1'"),
        ("1 13 1", "template 13 is unknown; the list of templates has 3, from 1 to 30"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_wrong_lines_of_pairs(
    tmp_path: Path,
    listed: TemplateList,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    said: str,
    chunk: int,
) -> None:
    monkeypatch.setattr(template_lists, "_CHUNK_LINES", chunk)
    path = tmp_path / "pairs.txt"
    path.write_text(f"1 12 1\n\n30 1 0\n{line}\n1 30 0\n")
    with pytest.raises(DataError, match=r"pairs.txt, line 4: ") as caught:
        read_template_pairs(path, listed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_pairs(tmp_path: Path, listed: TemplateList) -> None:
    path = tmp_path / "pairs.txt"
    with pytest.raises(FileError, match=r"cannot read .*pairs\.txt"):
        read_template_pairs(path, listed)
    path.write_text("\n\n")
    with pytest.raises(DataError, match=r"pairs.txt is empty"):
        read_template_pairs(path, listed)
    path.write_text("1 12 1\n12 30 1\n")
    with pytest.raises(DataError, match="pairs of one person and pairs of two, got 2"):
        read_template_pairs(path, listed)
    path.write_bytes(b"1 12 \xff\n")
    with pytest.raises(DataError, match="not a text file in UTF-8"):
        read_template_pairs(path, listed)


def test_subjects_have_a_row_for_each_photo(
    tmp_path: Path, listed: TemplateList
) -> None:
    path = tmp_path / "G1.csv"
    head = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n"
    path.write_text(
        f"{head}1,205,img/1.png,1\n1,205,frames/2.png,2\n30,9,img/3.png,3\n"
    )
    found = read_template_subjects(path, listed)
    assert found.images == ["1", "30"]
    assert found.identities == ["205", "9"]
    for rows, said in (
        ("1,205,a,1\n1,206,b,2\n", "line 3: template 1 is of subject 206 here, and of"),
        ("2,205,a,1\n", "expected a template of the list of templates, got '2'"),
        ("x,205,a,1\n", "column TEMPLATE_ID: expected a whole number, got 'x'"),
        ("1,,a,1\n", "column SUBJECT_ID: expected a person, got ''"),
        ("", "names no template"),
    ):
        path.write_text(head + rows)
        with pytest.raises(DataError) as caught:
            read_template_subjects(path, listed)
        assert said in str(caught.value)


def test_scores_end_each_line(tmp_path: Path, listed: TemplateList) -> None:
    path = tmp_path / "scores.txt"
    points = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"
    path.write_text(
        f"5.jpg {points} 0.5\n9.jpg {points} 0.1\n1.jpg {points} 0.999\n"
        f"3.jpg {points} 0.3\n2.jpg {points} 0\n4 b.jpg {points} 1e-1\n"
    )
    found = read_photo_scores(path, listed.photos)
    assert found.tolist() == [0.999, 0.0, 0.3, 0.1, 0.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.jpg 1\n2.jpg 1\n3.jpg 1\n", "no score for 2 of 5 photos of the templates"),
        ("1.jpg -0.1\n", "line 1: expected lines of a photo"),
        ("1.jpg 0.1\n2.jpg nan\n", "line 2: expected lines of a photo"),
        ("1.jpg\n", "line 1: expected lines of a photo"),
        ("1.jpg 0.1\n1.jpg 0.2\n", "line 2: 1.jpg has a score already"),
    ],
)
def test_wrong_scores(
    tmp_path: Path, listed: TemplateList, text: str, said: str
) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_photo_scores(path, listed.photos)
    assert said in str(caught.value)
