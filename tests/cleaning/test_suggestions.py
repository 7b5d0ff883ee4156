"""Beside loops over all photos, and on LFW, whose wrong labels are published."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.cleaning.alike import find_alike
from facever.cleaning.centers import compare_with_strangers, find_centers
from facever.cleaning.suggestions import CleaningRules, find_overlap, inspect_set
from facever.errors import DataError, ParameterError


def draw(
    seed: int, people: int = 12, dim: int = 8, spread: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(
        np.concatenate([np.arange(people), rng.integers(people, size=30)])
    )
    centers = rng.normal(size=(people, dim))
    embeddings = centers[labels] + spread * rng.normal(size=(len(labels), dim))
    return embeddings * rng.uniform(0.5, 20, size=(len(labels), 1)), labels


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def center(embeddings: np.ndarray, rows: list[int]) -> np.ndarray:
    return np.mean(
        [embeddings[r] / np.linalg.norm(embeddings[r]) for r in rows], axis=0
    )


@pytest.mark.parametrize("seed", range(4))
def test_centers_and_strangers_beside_loops(seed: int) -> None:
    embeddings, labels = draw(seed)
    found = find_centers(embeddings, labels)
    strangers = compare_with_strangers(found)
    all_cosines = []
    for row, label in enumerate(labels):
        others = [r for r in range(len(labels)) if labels[r] == label and r != row]
        if others:
            expected = cosine(embeddings[row], center(embeddings, others))
            assert found.own_cosine[row] == pytest.approx(expected, abs=1e-5)
        else:
            assert np.isnan(found.own_cosine[row])
        to_others = {
            who: cosine(
                embeddings[row],
                center(embeddings, [r for r in range(len(labels)) if labels[r] == who]),
            )
            for who in set(labels.tolist()) - {int(label)}
        }
        best = max(to_others, key=to_others.__getitem__)
        assert strangers.nearest[row] == best
        assert strangers.cosine[row] == pytest.approx(to_others[best], abs=1e-5)
        all_cosines += to_others.values()
    values = np.array(all_cosines)
    for far in (0.5, 0.1, 0.01):
        threshold = strangers.threshold(far)
        assert (values > threshold + 1e-6).mean() <= far
        # And not needlessly high: a bin lower, too many would be above.
        assert (values > threshold - 1e-4).mean() >= far - 2 / len(values)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.floats(-1, 0.99),
    st.integers(0, 30),
)
def test_alike_pairs_beside_loops(
    seed: int, size: int, threshold: float, num_others: int
) -> None:
    rng = np.random.default_rng(seed)
    units, others = (
        (lambda drawn: drawn / np.linalg.norm(drawn, axis=1, keepdims=True))(
            rng.normal(size=(count, 4))
        ).astype(np.float32)
        for count in (size, num_others)
    )
    near = 1e-5  # Of the threshold, where rounding decides.
    for second in (None, others):
        found = find_alike(units, threshold, second)
        there = units if second is None else second
        scores = units.astype(float) @ there.T.astype(float)
        pairs = {
            (i, j): scores[i, j]
            for i in range(len(units))
            for j in range(i + 1 if second is None else 0, len(there))
        }
        got = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
        assert {
            pair for pair, score in pairs.items() if score > threshold + near
        } <= got
        assert got <= {
            pair for pair, score in pairs.items() if score > threshold - near
        }
        assert np.all(np.diff(found.cosine) <= 0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = draw(5, spread=1.0)
    whole = inspect_set(
        find_centers(embeddings, labels), CleaningRules(0.9, 0.05, 0.01)
    )
    monkeypatch.setattr("facever.cleaning.alike._BLOCK_SCORES", 100)
    monkeypatch.setattr("facever.cleaning.centers._BLOCK_SCORES", 100)
    parts = inspect_set(
        find_centers(embeddings, labels), CleaningRules(0.9, 0.05, 0.01)
    )
    assert len(whole.duplicates.left)
    assert len(whole.outliers.rows)
    assert parts.outlier_threshold == whole.outlier_threshold
    np.testing.assert_array_equal(parts.outliers.rows, whole.outliers.rows)
    for one, other in (
        (parts.duplicates, whole.duplicates),
        (parts.lookalikes, whole.lookalikes),
    ):
        np.testing.assert_array_equal(one.left, other.left)
        np.testing.assert_array_equal(one.right, other.right)


def test_what_was_planted_is_found() -> None:
    embeddings, labels = draw(6, people=20, dim=32, spread=0.2)
    embeddings = np.concatenate([embeddings, embeddings[[3]] * 2, embeddings[[7]]])
    wrong = (labels[7] + 1) % 20
    labels = np.append(labels, [labels[3], wrong])
    found = inspect_set(
        find_centers(embeddings, labels), CleaningRules(0.999, 0.05, 0.02)
    )
    pairs = zip(found.duplicates.left, found.duplicates.right, strict=True)
    assert set(pairs) == {(3, 50), (7, 51)}
    assert found.outliers.rows[0] == 51, "a photo of another"
    assert found.outliers.nearest[0] == labels[7]


def test_planted_overlap_is_found() -> None:
    embeddings, labels = draw(7, people=20, dim=32, spread=0.2)
    test_embeddings, test_labels = draw(8, people=6, dim=32, spread=0.2)
    rng = np.random.default_rng(9)
    again = center(embeddings, np.flatnonzero(labels == 4).tolist())
    again = again + 0.02 * rng.normal(size=(3, 32))
    test_embeddings = np.concatenate([test_embeddings, again])
    test_labels = np.append(test_labels, [6, 6, 6])
    found = find_overlap(
        find_centers(embeddings, labels),
        find_centers(test_embeddings, test_labels),
        CleaningRules(0.99, 0.1, 0.01),
    )
    assert (found.identities.left[0], found.identities.right[0]) == (4, 6)
    assert found.identities.cosine[0] > 0.9 > found.identities.cosine[1:].max(initial=0)


def test_opposite_photos_leave_no_center() -> None:
    embeddings = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    found = find_centers(embeddings, np.array([0, 0, 1]))
    np.testing.assert_array_equal(found.centers[0], [0, 0])
    np.testing.assert_allclose(found.own_cosine[:2], -1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_embedding_without_direction_is_refused(bad: float) -> None:
    embeddings = np.ones((4, 3))
    embeddings[2] = bad
    with pytest.raises(DataError, match="embedding 2 of 4 is all zero or not finite"):
        find_centers(embeddings, np.array([0, 0, 1, 1]))


def test_one_identity_has_no_strangers() -> None:
    with pytest.raises(DataError, match="at least 2 identities"):
        inspect_set(
            find_centers(np.ones((3, 2)), np.zeros(3, np.int64)), CleaningRules()
        )


@pytest.mark.parametrize("name", ["duplicate", "outlier_far", "alike_far"])
@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_rules_have_ranges(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=rf"{name} must be in \(0, 1\)"):
        CleaningRules(**{name: value})


@pytest.mark.realdata
def test_lfws_published_wrong_labels_are_found(data_folder: Path) -> None:
    """The errata of LFW's home page, from a public network's embeddings."""
    with np.load(data_folder / "embeddings/lfw-mobilefacenet-128d.npz") as file:
        embeddings, images = file["embeddings"], file["images"]
    names, labels = np.unique(
        [each.split("/")[0] for each in images], return_inverse=True
    )
    found = inspect_set(
        find_centers(embeddings.astype(np.float32), labels), CleaningRules()
    )
    outliers = [images[row].split("/")[1][:-4] for row in found.outliers.rows]
    for wrong in (
        "Janica_Kostelic_0001",
        "Michael_Schumacher_0008",
        "Recep_Tayyip_Erdogan_0004",
        "Nora_Bendijo_0001",
    ):
        assert wrong in outliers
    alike = {
        frozenset((str(names[a]), str(names[b])))
        for a, b in zip(found.lookalikes.left, found.lookalikes.right, strict=True)
    }
    for pair in (
        ("Bart_Hendricks", "Ricky_Ray"),
        ("Carlos_Beltran", "Raul_Ibanez"),
        ("Emmy_Rossum", "Eva_Amurri"),
        ("Andrew_Caldecott", "Andrew_Gilligan"),
    ):
        assert frozenset(pair) in alike
    assert len(outliers) < 250
    assert len(alike) < 400
