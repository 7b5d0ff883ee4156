from collections import Counter
from pathlib import Path

import pytest

from facever.errors import DataError, FileError
from facever.verification.protocols import read_cfp_ff, read_cfp_fp
from facever.verification.uncertainty.error_bars import folder_identities

READERS = {"FF": read_cfp_ff, "FP": read_cfp_fp}


def write_protocol(folder: Path) -> Path:
    """Four people with 3 frontal and 2 profile photos, two folds of two people."""
    protocol = folder / "Protocol"
    for side, name, num in (("F", "frontal", 3), ("P", "profile", 2)):
        listing = protocol / f"Pair_list_{side}.txt"
        listing.parent.mkdir(exist_ok=True)
        listing.write_text(
            "".join(
                f"{who * num + photo + 1} ../Data/Images/{who + 1:03d}/{name}/"
                f"{photo + 1:02d}.jpg\n"
                for who in range(4)
                for photo in range(num)
            )
        )
    lines = {
        "FF/01/same.txt": "1,2\n2,1\n",
        "FF/01/diff.txt": "1,4\n2,6",
        "FF/02/same.txt": "7,9\n10,12\n",
        "FF/02/diff.txt": "7,10\n8,11\n",
        "FP/01/same.txt": "1,2\n4,3\n",
        "FP/01/diff.txt": "1,3\n5,1\n",
        "FP/02/same.txt": "7,5\n10,8\n",
        "FP/02/diff.txt": "7,8\n10,6\n",
    }
    for name, text in lines.items():
        path = protocol / "Split" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return protocol


def test_a_small_protocol_by_hand(tmp_path: Path) -> None:
    protocol = write_protocol(tmp_path)
    pairs = read_cfp_fp(protocol)
    assert pairs.left == [
        *("001/frontal/01.jpg", "002/frontal/01.jpg"),
        *("001/frontal/01.jpg", "002/frontal/02.jpg"),
        *("003/frontal/01.jpg", "004/frontal/01.jpg"),
        *("003/frontal/01.jpg", "004/frontal/01.jpg"),
    ]
    assert pairs.right == [
        *("001/profile/02.jpg", "002/profile/01.jpg"),
        *("002/profile/01.jpg", "001/profile/01.jpg"),
        *("003/profile/01.jpg", "004/profile/02.jpg"),
        *("004/profile/02.jpg", "003/profile/02.jpg"),
    ]
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4
    assert pairs.notes == ()
    people = folder_identities(pairs)
    assert people is not None
    assert len({*people[0].tolist(), *people[1].tolist()}) == 4


def test_paths_as_windows_writes_them(tmp_path: Path) -> None:
    protocol = write_protocol(tmp_path)
    expected = read_cfp_fp(protocol)
    for side in "FP":
        listing = protocol / f"Pair_list_{side}.txt"
        listing.write_text(listing.read_text().replace("/", "\\"))
    found = read_cfp_fp(protocol)
    assert (found.left, found.right) == (expected.left, expected.right)


def test_repeated_pairs_are_counted_and_can_be_dropped(tmp_path: Path) -> None:
    protocol = write_protocol(tmp_path)
    pairs = read_cfp_ff(protocol)
    assert len(pairs) == 8
    [note] = pairs.notes
    assert "listed again: 1, 1 of them with the members swapped" in note
    assert "line 1 of 01/same.txt in line 2 of 01/same.txt" in note
    assert len(read_cfp_ff(protocol, unique=True)) == 7


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Split/FP/01/same.txt", "1,2\n1;3\n", r"same.txt, line 2: expected two num"),
        ("Split/FP/01/diff.txt", "1,2\n1,99\n", r"diff.txt, line 2: no photo .* '99'"),
        ("Pair_list_P.txt", "1 a.jpg\n", r"Pair_list_P.txt, line 1: expected a num"),
        ("Pair_list_P.txt", "one a/b/c.jpg\n", r"line 1: expected a number and a p"),
        ("Pair_list_F.txt", "1 a/b/c.jpg\n1 a/b/d.jpg\n", r"line 2: number 1 again"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    protocol = write_protocol(tmp_path)
    (protocol / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_cfp_fp(protocol)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    protocol = write_protocol(tmp_path)
    with pytest.raises(FileError, match=r"Pair_list_F.txt.*CFP's folder Protocol"):
        read_cfp_ff(protocol / "Split")
    with pytest.raises(DataError, match="no columns"):
        read_cfp_ff(protocol, columns="1,2,3")
    for fold in ("01", "02"):
        for name in ("same.txt", "diff.txt"):
            (protocol / "Split/FF" / fold / name).unlink()
        (protocol / "Split/FF" / fold).rmdir()
    with pytest.raises(FileError, match="no folders of folds"):
        read_cfp_ff(protocol)


@pytest.mark.realdata
@pytest.mark.parametrize("split", READERS)
def test_the_official_lists(data_folder: Path, split: str) -> None:
    protocol = data_folder / "cfp-protocol"
    pairs = READERS[split](protocol)
    assert Counter(zip(pairs.fold.tolist(), pairs.same.tolist(), strict=True)) == {
        (fold, same): 350 for fold in range(10) for same in (True, False)
    }
    sides = {"FF": "frontal", "FP": "profile"}
    assert all("/frontal/" in photo for photo in pairs.left)
    assert all(f"/{sides[split]}/" in photo for photo in pairs.right)
    # The outermost folder is the person, whatever the side.
    for left, right, same in zip(pairs.left, pairs.right, pairs.same, strict=True):
        assert (left[:3] == right[:3]) == same
    unordered = Counter(map(frozenset, zip(pairs.left, pairs.right, strict=True)))
    repeated = sum(count - 1 for count in unordered.values())
    assert repeated == (130 if split == "FF" else 0)
    assert len(READERS[split](protocol, unique=True)) == 7000 - repeated
    assert (f"listed again: {repeated}, {repeated}" in "".join(pairs.notes)) == bool(
        repeated
    )
