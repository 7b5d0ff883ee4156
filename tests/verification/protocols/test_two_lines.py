from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.protocols import PairList, read_pair_list


def write(folder: Path, couples: list[tuple[str, str, int]]) -> Path:
    path = folder / "pairs_CALFW.txt"
    path.write_text("".join(f"{a} {n}\n{b} {n}\n" for a, b, n in couples))
    return path


def in_ten_folds() -> list[tuple[str, str, int]]:
    """CALFW's order: genuine pairs by fold, then impostor pairs with 0."""
    genuine = [(f"A{i}_0001.jpg", f"A{i}_0002.jpg", 1 + i // 3) for i in range(30)]
    impostor = [(f"A{i}_0001.jpg", f"B{i}_0001.jpg", 0) for i in range(30)]
    return genuine + impostor


def test_cplfw_has_one_number_for_the_truth(tmp_path: Path) -> None:
    couples = [
        (f"P{i}_1.jpg", f"{'P' if i % 2 else 'Q'}{i}_2.jpg", i % 2) for i in range(40)
    ]
    pairs = read_pair_list(write(tmp_path, couples))
    assert pairs.left == [a for a, _, _ in couples]
    assert pairs.right == [b for _, b, _ in couples]
    assert pairs.same.tolist() == [bool(n) for _, _, n in couples]
    assert pairs.fold.tolist() == [i // 4 for i in range(40)]
    assert pairs.notes == (
        "the list names no folds: its ten tenths are taken, in its order",
    )


def test_calfw_names_the_folds_of_genuine_pairs(tmp_path: Path) -> None:
    pairs = read_pair_list(write(tmp_path, in_ten_folds()))
    assert pairs.num_folds == 10
    assert pairs.same.tolist() == [True] * 30 + [False] * 30
    assert pairs.fold.tolist() == [i // 3 for i in range(30)] * 2
    [note] = pairs.notes
    assert "folds of genuine pairs alone, 1 to 10" in note


def test_paths_as_windows_writes_them(tmp_path: Path) -> None:
    couples = [(f"P{i}\\1.jpg", f"P{i + i % 2}\\2.jpg", 1 - i % 2) for i in range(40)]
    pairs = read_pair_list(write(tmp_path, couples))
    assert pairs.left == [f"P{i}/1.jpg" for i in range(40)]
    assert pairs.right == [f"P{i + i % 2}/2.jpg" for i in range(40)]


@given(st.integers(2, 12), st.integers(2, 4), st.integers(12, 40))
def test_impostor_pairs_are_divided_evenly(
    tmp_path_factory: pytest.TempPathFactory, folds: int, each: int, impostors: int
) -> None:
    genuine = [(f"A{i}", f"a{i}", 1 + i // each) for i in range(folds * each)]
    others = [(f"B{i}", f"C{i}", 0) for i in range(impostors)]
    folder = tmp_path_factory.mktemp("lists")
    pairs: PairList = read_pair_list(write(folder, genuine + others))
    of_impostors = pairs.fold[~pairs.same].tolist()
    assert of_impostors == sorted(of_impostors)
    counts = [of_impostors.count(fold) for fold in range(folds)]
    assert max(counts) - min(counts) <= 1
    assert pairs.fold[pairs.same].tolist() == [i // each for i in range(folds * each)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda lines: [*lines[:3], "A1_0002.jpg 5", *lines[4:]],
            r"line 4: .*before, 1",
        ),
        (lambda lines: lines[:-1], "line 119: expected two lines for each pair"),
        (
            lambda lines: [*lines[:9], "what is this?", *lines[9:]],
            "line 10: expected a",
        ),
        (lambda lines: [*lines[:9], "A.jpg", *lines[9:]], "line 10: expected a photo"),
    ],
    ids=["other number", "half a pair", "words", "no number"],
)
def test_damage_is_named(tmp_path: Path, change, said: str) -> None:
    path = write(tmp_path, in_ten_folds())
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=said):
        read_pair_list(path)
