from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from facever.errors import DataError, FileError, ParameterError
from facever.inference.embeddings_file import read_embeddings
from facever.verification.identification import gallery_search as identification
from facever.verification.identification.gallery_search import (
    Identification,
    evaluate_identification,
)
from facever.verification.protocols.identity_list import (
    IdentityList,
    read_identity_list,
)

# Of these vectors every cosine is a multiple of 1/2, exact in float32, with many ties.
CORNERS = list(product([-1.0, 1.0], repeat=4))
TARGETS = [0.05, 0.1, 0.25, 0.34, 0.5, 1.0]


@dataclass(frozen=True)
class Photo:
    source: str
    who: str
    vector: tuple[float, ...]
    missing: bool


@st.composite
def photo_lists(draw: Callable[..., Any]) -> tuple[list[Photo], list[Photo]]:
    def drawn(kind: str, people: int, most: int) -> list[Photo]:
        entry = st.tuples(
            st.integers(0, people), st.sampled_from(CORNERS), st.integers(0, 4)
        )
        entries = draw(st.lists(entry, min_size=1, max_size=most))
        return [
            Photo(f"{kind}/{i}.jpg", f"person {who}", vector, luck == 0)
            for i, (who, vector, luck) in enumerate(entries)
        ]

    gallery, probes = drawn("g", 4, 9), drawn("p", 6, 14)
    assume({photo.who for photo in gallery} & {photo.who for photo in probes})
    assume(not all(photo.missing for photo in gallery))
    assume(not all(photo.missing for photo in probes))
    return gallery, probes


def listed(photos: list[Photo]) -> IdentityList:
    return IdentityList([p.source for p in photos], [p.who for p in photos])


def evaluate(gallery: list[Photo], probes: list[Photo]) -> Identification:
    present = [photo for photo in [*gallery, *probes] if not photo.missing]
    return evaluate_identification(
        np.array([photo.vector for photo in present]),
        [photo.source for photo in present],
        listed(gallery),
        listed(probes),
        TARGETS,
    )


def cosine(a: Photo, b: Photo) -> float:
    dot = sum(x * y for x, y in zip(a.vector, b.vector, strict=True))
    length = sum(x * x for x in a.vector) * sum(y * y for y in b.vector)
    return float("-inf") if a.missing or b.missing else dot / length**0.5


def expected(
    gallery: list[Photo], probes: list[Photo]
) -> tuple[list[tuple[float, int | None]], list[float]]:
    """Score and rank (None: a miss) of mated probes, highest score of the others."""
    people = list(dict.fromkeys(photo.who for photo in gallery))
    mated, unmated = [], []
    for probe in probes:
        best = {
            who: max(cosine(photo, probe) for photo in gallery if photo.who == who)
            for who in people
        }
        if probe.who not in best:
            unmated.append(max(best.values()))
            continue
        own = best.pop(probe.who)
        rank = 1 + sum(score >= own for score in best.values())
        mated.append((own, None if own == float("-inf") else rank))
    return mated, unmated


@given(photo_lists(), st.sampled_from([1, 5, 2**24]))
def test_ranks_scores_and_cmc_are_those_of_loops(lists, block: int) -> None:
    gallery, probes = lists
    mated, unmated = expected(gallery, probes)
    with mock.patch.object(identification, "_BLOCK_SCORES", block):
        result = evaluate(gallery, probes)
    num_people = len({photo.who for photo in gallery})
    assert result.mated_scores.tolist() == [score for score, _ in mated]
    assert result.unmated_scores.tolist() == unmated
    assert result.mated_ranks.tolist() == [r or num_people + 1 for _, r in mated]
    assert result.cmc.tolist() == [
        sum(rank is not None and rank <= k for _, rank in mated) / len(mated)
        for k in range(1, num_people + 1)
    ]
    assert result.missing_gallery == [p.source for p in gallery if p.missing]
    assert result.missing_probes == [p.source for p in probes if p.missing]
    enrolled = {photo.who for photo in gallery}
    assert result.mated.tolist() == [probe.who in enrolled for probe in probes]
    for probe, place, score in zip(
        probes, result.nearest.tolist(), result.nearest_scores.tolist(), strict=True
    ):
        # Of photos equally near any may be named.
        assert score == max(cosine(photo, probe) for photo in gallery)
        assert place == -1 if probe.missing else cosine(gallery[place], probe) == score


@given(photo_lists())
def test_tpir_is_the_best_of_all_thresholds_within_the_fpir(lists) -> None:
    mated, unmated = expected(*lists)
    levels = [*{score for score, _ in mated}, *unmated, -9.0]
    levels = [level for level in levels if level > float("-inf")]

    def rates(level: float) -> tuple[Fraction, Fraction]:
        return (
            Fraction(sum(score > level for score in unmated), len(unmated)),
            Fraction(sum(r == 1 and s > level for s, r in mated), len(mated)),
        )

    for target, point in zip(TARGETS, evaluate(*lists).tpir, strict=True):
        assert point.target_fpir == target
        if not any(score > float("-inf") for score in unmated):
            assert (point.fpir, point.tpir, point.threshold) == (None, None, None)
            assert f"none among {len(unmated)} unmated" in point.note
        elif len(unmated) < 1 / target:
            assert (point.fpir, point.tpir, point.threshold) == (None, None, None)
            assert f"unmated probes, there are {len(unmated)}" in point.note
        else:
            assert point.fpir is not None
            assert point.threshold is not None
            assert np.isfinite(point.threshold)
            assert point.fpir <= target
            possible = [rates(level) for level in levels]
            best = max(tpir for fpir, tpir in possible if float(fpir) <= target)
            assert point.tpir == float(best)
            achieved = tuple(map(float, rates(point.threshold)))
            assert (point.fpir, point.tpir) == achieved
            assert point.note == ""


@given(photo_lists(), st.randoms(use_true_random=False))
def test_the_order_changes_nothing(lists, random) -> None:
    gallery, probes = lists
    before = evaluate(gallery, probes)
    shuffled = [random.sample(photos, len(photos)) for photos in lists]
    after = evaluate(*shuffled)
    assert after.cmc.tolist() == before.cmc.tolist()
    assert after.tpir == before.tpir
    for name in ("mated_scores", "mated_ranks", "unmated_scores"):
        one, other = getattr(before, name), getattr(after, name)
        assert sorted(one.tolist()) == sorted(other.tolist())


def test_by_hand() -> None:
    # Angles of the photos in degrees; Ann's second photo is the one that finds her.
    degrees = {"ann1": 0, "ann2": 40, "bob": 90, "cy": 180}
    degrees |= {"p1": 50, "p2": 80, "p3": 85, "u1": 120, "u2": 200, "u3": 66}
    angles = np.radians(list(degrees.values()))
    # Lengths do not matter, and rows that no list names are ignored.
    embeddings = np.stack([3 * np.cos(angles), 3 * np.sin(angles)], axis=1)
    embeddings = np.concatenate([embeddings, [[np.nan, 0.0]]]).astype(np.float32)
    gallery = IdentityList(["ann1", "ann2", "bob", "cy"], ["Ann", "Ann", "Bob", "Cy"])
    probes = IdentityList(
        ["p1", "p2", "p3", "u1", "u2", "u3"], ["Ann", "Ann", "Bob", "Eve", "Fay", "Gil"]
    )
    result = evaluate_identification(
        embeddings, [*degrees, "nobody"], gallery, probes, [0.3, 0.34, 0.7]
    )
    cosines = np.cos(np.radians([10, 40, 5]))
    np.testing.assert_allclose(result.mated_scores, cosines, atol=1e-6)
    assert result.mated_ranks.tolist() == [1, 2, 1]
    assert result.cmc.tolist() == [2 / 3, 1, 1]
    # Highest of the unmated: u3 to Bob 24 degrees, u2 to Cy 20, u1 to Bob 30.
    highest = np.cos(np.radians([30, 20, 24]))
    np.testing.assert_allclose(result.unmated_scores, highest, atol=1e-6)
    strict, third, two_thirds = result.tpir
    assert strict.note == "FPIR 0.3 needs at least 4 unmated probes, there are 3"
    assert (third.fpir, third.tpir) == (1 / 3, 2 / 3)
    assert third.threshold is not None
    assert np.cos(np.radians(24)) <= third.threshold < np.cos(np.radians(20))
    assert (two_thirds.fpir, two_thirds.tpir) == (2 / 3, 2 / 3)


def test_a_tie_counts_against_the_probe() -> None:
    # Two enrolled people look the same: both score 1 with the probe.
    photos = [Photo(s, w, CORNERS[0], False) for s, w in [("a", "A"), ("b", "B")]]
    result = evaluate(photos, [Photo("p", "A", CORNERS[0], False)])
    assert result.mated_ranks.tolist() == [2]
    assert result.cmc.tolist() == [0, 1]
    # Another photo of the same person is no rival.
    twice = [Photo("a", "A", CORNERS[0], False), Photo("b", "A", CORNERS[0], False)]
    assert evaluate(twice, [Photo("p", "A", CORNERS[0], False)]).cmc.tolist() == [1]


def test_missing_photos_are_counted() -> None:
    here, gone = False, True
    gallery = [
        Photo("a1", "A", CORNERS[0], gone),
        Photo("a2", "A", CORNERS[1], here),
        Photo("b", "B", CORNERS[0], gone),
    ]
    probes = [
        Photo("pa", "A", CORNERS[1], here),
        Photo("pa gone", "A", CORNERS[1], gone),
        Photo("pb", "B", CORNERS[0], here),
        Photo("u", "U", CORNERS[2], here),
        Photo("u gone", "U", CORNERS[1], gone),
    ]
    result = evaluate(gallery, probes)
    assert result.missing_gallery == ["a1", "b"]
    assert result.missing_probes == ["pa gone", "u gone"]
    # One of three mated probes is found; the two misses stay misses at the last rank.
    assert result.mated_ranks.tolist() == [1, 3, 3]
    assert result.cmc.tolist() == [1 / 3, 1 / 3]
    # The missing unmated probe counts: one false alarm of two is an FPIR of 1/2.
    half = result.tpir[TARGETS.index(0.5)]
    assert (half.fpir, half.tpir) == (0.5, 1 / 3)
    assert len(result.unmated_scores) == 2


def test_cmc_is_the_top_k_accuracy_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    people, photos, probes, dim = 30, 2, 200, 8
    centers = rng.normal(size=(people, dim))
    owners, wanted = np.arange(people).repeat(photos), rng.integers(people, size=probes)
    enrolled = centers[owners] + rng.normal(size=(len(owners), dim))
    searched = centers[wanted] + rng.normal(size=(probes, dim))
    images = [f"g{i}" for i in range(len(owners))] + [f"p{i}" for i in range(probes)]
    result = evaluate_identification(
        np.concatenate([enrolled, searched]),
        images,
        IdentityList(images[: len(owners)], owners.astype(str).tolist()),
        IdentityList(images[len(owners) :], wanted.astype(str).tolist()),
    )
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (searched, enrolled)]
    best = (units[0] @ units[1].T).reshape(probes, people, photos).max(axis=2)
    labels = np.arange(people)
    for k in (1, 2, 5, 29):
        accuracy = top_k_accuracy_score(wanted, best, k=k, labels=labels)
        assert result.cmc[k - 1] == pytest.approx(accuracy, abs=1e-12)
    assert result.cmc[-1] == 1
    assert result.tpir[0].note.endswith("none among 0 unmated probes")


GALLERY = IdentityList(["a", "b"], ["A", "B"])
PROBES = IdentityList(["p", "q"], ["A", "X"])
IMAGES = ["a", "b", "p", "q"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"embeddings": np.eye(3)}, "one length, got 3 embeddings and 4 images"),
        ({"images": ["a", "b", "p", "p.jpg"]}, "rows 3 and 4 are 'p' and 'p.jpg'"),
        ({"images": ["c", "d", "p", "q"]}, "none of the 2 photos.*'a'.*'c'"),
        ({"images": ["a", "b", "r", "s"]}, "none of the 2 photos.*such as 'p'"),
        ({"embeddings": np.eye(0, 4), "images": []}, "there are 0"),
        (
            {"embeddings": np.diag([1, 1, 1, np.nan])},
            r"embedding 1 of 2 \(q\) is all zero or not finite",
        ),
        (
            {"embeddings": np.diag([1.0, 0, 0, 1])},
            r"embedding 1 of 2 \(b\) is all zero or not finite",
        ),
        ({"probes": IdentityList(["p", "a.png"], ["A", "A"])}, "such as 'a.png'"),
        ({"probes": IdentityList(["p"], ["X"])}, "such as 'X'"),
        ({"target_fpirs": [0.0]}, r"in \(0, 1\], got 0.0"),
        ({"target_fpirs": [1.5]}, r"in \(0, 1\], got 1.5"),
        ({"target_fpirs": [float("nan")]}, r"in \(0, 1\], got nan"),
    ],
)
def test_wrong_input(change: dict[str, Any], says: str) -> None:
    good = {"embeddings": np.eye(4), "images": IMAGES}
    good |= {"gallery": GALLERY, "probes": PROBES, "target_fpirs": [1.0]}
    wrong = ParameterError if "target_fpirs" in change else DataError
    with pytest.raises(wrong, match=says) as caught:
        evaluate_identification(**{**good, **change})
    assert "\n" not in str(caught.value)


def test_list_file(tmp_path: Path) -> None:
    path = tmp_path / "gallery.csv"
    path.write_bytes(
        '\ufeffimage,identity\r\nA_B/1.jpg, Ann Bee \r\n\r\n"x,y.jpg","O""Neill, Cy"\n'
        "é/2.png,Zoé\n".encode()
    )
    read = read_identity_list(path)
    assert read.images == ["A_B/1.jpg", "x,y.jpg", "é/2.png"]
    assert read.identities == ["Ann Bee", 'O"Neill, Cy', "Zoé"]
    assert len(read) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; expected CSV"),
        (b"identity,photo\nA,a\n", "the columns image, identity; got identity, photo"),
        (b"image,identity\n", "at least one photo"),
        (b"image,identity\na,A\nb\n", "line 3: expected 2 values"),
        (b"image,identity\na,A,1\n", "line 2: expected 2 values"),
        (b"image,identity\n,A\n", "line 2, column image: expected a photo, got ''"),
        (b"image,identity\na,A\na.JPG,B\n", "rows 1 and 2 are 'a' and 'a.JPG'"),
        (b'image,identity\n"a"b,A\n', "not CSV"),
        (b"image,identity\n\xff,A\n", "is not text in UTF-8"),
    ],
)
def test_wrong_list_file(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "gallery.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_identity_list(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_list_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileError, match="cannot read"):
            read_identity_list(path)


def test_list_of_two_lengths() -> None:
    with pytest.raises(DataError, match="got 2 photos and 1 identities"):
        IdentityList(["a", "b"], ["A"])


@pytest.mark.realdata
def test_lfw_first_photos_as_gallery(data_folder: Path) -> None:
    file = read_embeddings(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    people = [image.split("/")[0] for image in file.images]
    first = [image.endswith("_0001.jpg") for image in file.images]
    sides = []
    for side in (True, False):
        rows = [row for row, is_first in enumerate(first) if is_first == side]
        sides.append(
            IdentityList([file.images[r] for r in rows], [people[r] for r in rows])
        )
    result = evaluate_identification(file.embeddings, file.images, *sides)
    units = file.embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    first_rows, other_rows = np.flatnonzero(first), np.flatnonzero(~np.array(first))
    nearest = first_rows[(units[other_rows] @ units[first_rows].T).argmax(axis=1)]
    same = [people[a] == people[b] for a, b in zip(other_rows, nearest, strict=True)]
    assert len(same) == 7484
    assert result.cmc[0] == pytest.approx(np.mean(same), abs=2 / 7484)
    assert 0.9 < result.cmc[0] < result.cmc[9] < 1
