from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError
from facever.verification.evaluation import Evaluation, evaluate_scores
from facever.verification.groups.attributes import read_groups
from facever.verification.groups.clustered_rates import PairSums, clustered_rates
from facever.verification.groups.comparison import (
    GroupComparison,
    compare_groups,
    num_tests,
)
from facever.verification.groups.differentials import differentials
from facever.verification.protocols import PairList
from facever.verification.uncertainty.many_tests import holm

TARGET = 0.1


@pytest.fixture(scope="module")
def drawn() -> Evaluation:
    """24 people with three photos each, one photo missing, genuine pairs of all."""
    rng = np.random.default_rng(0)
    photos = [f"P{person}/{n}.jpg" for person in range(24) for n in range(3)]
    rows = []
    for person in range(24):
        mine = photos[3 * person : 3 * person + 3]
        rows += [(mine[a], mine[b], True) for a, b in ((0, 1), (0, 2), (1, 2))]
        for _ in range(12):
            other = int((person + rng.integers(1, 24)) % 24)
            rows.append((mine[rng.integers(3)], photos[3 * other + rng.integers(3)], 0))
    left, right, same = zip(*rows, strict=True)
    pairs = PairList(
        list(left),
        list(right),
        np.array(same, dtype=bool),
        np.arange(len(rows)) % 2,
    )
    trait = {f"P{person}": rng.normal() for person in range(24)}
    scores = np.array(
        [
            2.5 * truth + trait[one.split("/")[0]] + trait[other.split("/")[0]]
            for one, other, truth in rows
        ]
    ) + rng.normal(size=len(rows))
    gone = "P5/1.jpg"
    scores[[gone in row for row in rows]] = -np.inf
    return evaluate_scores(scores, pairs, [gone])


def compare(
    tmp_path: Path, drawn: Evaluation, text: str, target: float = TARGET
) -> GroupComparison:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    return compare_groups("drawn", drawn, read_groups(path, drawn.pairs), target)


BY_PERSON = "name,half,third\n" + "\n".join(
    f"P{person},{'ab'[person % 2]},{('x', 'y', 'z', '')[person % 4]}"
    for person in range(24)
)


def test_every_rate_by_counting(tmp_path: Path, drawn: Evaluation) -> None:
    found = compare(tmp_path, drawn, BY_PERSON)
    pairs = drawn.pairs
    people = [
        [int(source.split("/")[0][1:]) for source in side]
        for side in (pairs.left, pairs.right)
    ]
    known = np.isfinite(drawn.scores)
    impostor = sorted(drawn.scores[known & ~pairs.same].tolist(), reverse=True)
    allowed = int(TARGET * len(impostor))
    assert impostor[allowed - 1] > found.threshold > impostor[allowed]
    assert found.fmr == allowed / len(impostor) <= TARGET
    half, third = found.compared
    assert (half.num_people, third.num_people) == ((12, 12), (6, 6, 6))
    assert (half.num_missing, third.num_missing) == ((0, 1), (0, 1, 0))
    assert third.attribute.num_without == 18
    for each, label in ((half, "ab"), (third, "xyz")):
        width = 2 if label == "ab" else 4
        for kind, same in (("fmr", False), ("fnmr", True)):
            rates = getattr(each, kind)
            cells = {}
            for (one, other), rate in rates.of.items():
                inside = [
                    place
                    for place in np.flatnonzero(known & (pairs.same == same)).tolist()
                    if sorted(side[place] % width for side in people) == [one, other]
                ]
                wrong = (drawn.scores[inside] > found.threshold) != same
                assert (rate.num_pairs, rate.num_errors) == (len(inside), wrong.sum())
                cells[one, other] = PairSums.of(
                    wrong,
                    *(np.array([side[p] for p in inside], int) for side in people),
                )
            expected = dict(
                zip(cells, clustered_rates(list(cells.values())), strict=True)
            )
            for cell, rate in rates.of.items():
                assert rate.num_people == expected[cell].num_people
                assert rate.is_small == expected[cell].is_small
                if rate.num_pairs:
                    assert astuple(rate.interval) == pytest.approx(
                        astuple(expected[cell].interval)
                    )
            own = [rates.own(group).rate for group in range(len(label))]
            assert rates.differentials == differentials(np.array(own))
    ginis = half.fmr.differentials.gini, half.fnmr.differentials.gini
    assert half.garbe == pytest.approx(sum(ginis) / 2)
    # The attribute is a person's: no genuine pair shows two groups.
    assert half.fnmr.of[0, 1].num_pairs == 0
    assert half.fmr.of[0, 1].num_pairs > 0


def test_tests_and_chance(tmp_path: Path, drawn: Evaluation) -> None:
    found = compare(tmp_path, drawn, BY_PERSON)
    half, third = found.compared
    assert [len(each.tests) for each in found.compared] == [2, 6]
    assert (half.num_deals, third.num_deals) == (1000, 1000)
    for each in found.compared:
        for test in each.tests:
            rates = getattr(each, test.rate)
            first, second = map(each.attribute.groups.index, (test.first, test.second))
            difference = rates.own(first).rate - rates.own(second).rate
            assert test.difference == pytest.approx(difference)
            assert 0 < test.p_value <= test.corrected <= 1
        assert [test.corrected for test in each.tests] == holm(
            [test.p_value for test in each.tests]
        )
        chance = each.garbe_by_chance
        assert 0 <= chance.median <= chance.high <= 1
    again = compare(tmp_path, drawn, BY_PERSON)
    assert [each.tests for each in again.compared] == [half.tests, third.tests]


def test_every_two_groups_are_counted(tmp_path: Path, drawn: Evaluation) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(BY_PERSON)
    groups = read_groups(path, drawn.pairs)
    done = []
    compare_groups(
        "drawn", drawn, groups, TARGET, advance=lambda count=1, note="": done.append(1)
    )
    assert len(done) == num_tests(groups) == 2 + 6


def test_an_attribute_of_photos(tmp_path: Path, drawn: Evaluation) -> None:
    """Photos 0 are of one camera, the others of another: each person is in both."""
    text = "photo,camera\n" + "\n".join(
        f"{photo},{'new' if photo.endswith('/0.jpg') else 'old'}"
        for photo in drawn.pairs.sources
    )
    [found] = compare(tmp_path, drawn, text).compared
    assert (found.num_people, found.num_in_several) == ((24, 24), 24)
    assert found.fnmr.own(0).num_pairs == 0  # No two photos of a person are "new".
    assert found.fnmr.of[0, 1].num_pairs == 24 * 2 - 1
    assert found.fnmr.own(1).num_pairs == 24 - 1
    assert {test.rate for test in found.tests} == {"fmr"}
    assert found.fnmr.differentials.num_groups == 1
    assert (found.fnmr.differentials.gini, found.garbe) == (None, None)


def test_unknown_people_are_pairs(tmp_path: Path, drawn: Evaluation) -> None:
    """Names that say nothing of people: every pair stands for itself."""
    pairs = drawn.pairs
    flat = {source: f"{place:06d}" for place, source in enumerate(pairs.sources)}
    renamed = PairList(
        [flat[source] for source in pairs.left],
        [flat[source] for source in pairs.right],
        pairs.same,
        pairs.fold,
    )
    evaluation = evaluate_scores(drawn.scores, renamed)
    text = "photo,half\n" + "\n".join(
        f"{name},{'ab'[int(source[1 : source.index('/')]) % 2]}"
        for source, name in flat.items()
    )
    [found] = compare(tmp_path, evaluation, text).compared
    [known] = compare(
        tmp_path,
        drawn,
        "name,half\n" + "\n".join(f"P{p},{'ab'[p % 2]}" for p in range(24)),
    ).compared
    assert found.num_people is None
    for kind in ("fmr", "fnmr"):
        for group in (0, 1):
            alone, clustered = (
                getattr(each, kind).own(group) for each in (found, known)
            )
            assert alone.rate == clustered.rate
            assert alone.num_people == alone.num_pairs
            # But for the n / (n - 1) of the groups' own people.
            assert alone.design_effect < 1.05
    assert len(found.tests) == 2


def test_too_few_impostor_pairs(tmp_path: Path, drawn: Evaluation) -> None:
    says = r"groups: FAR 0\.001 needs at least 1,000 impostor pairs, there are 28\d;"
    with pytest.raises(DataError, match=says):
        compare(tmp_path, drawn, BY_PERSON, target=1e-3)


@pytest.mark.realdata
def test_lfw_by_first_letters(tmp_path: Path, data_folder: Path) -> None:
    """A control: the first letter of a name says nothing about a face."""
    from facever.verification.evaluation import evaluate_pairs
    from facever.verification.protocols import read_lfw_pairs

    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    with np.load(
        data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz", allow_pickle=False
    ) as file:
        found = evaluate_pairs(file["embeddings"], file["images"].tolist(), pairs)
    names = sorted({source.split("/")[0] for source in pairs.sources})
    text = "name,letter\n" + "\n".join(
        f"{n},{'A-J' if n < 'K' else 'K-Z'}" for n in names
    )
    [letters] = compare(tmp_path, found, text, target=0.01).compared
    assert sum(letters.num_people) == len(names) == 4281
    assert sum(rate.num_pairs for rate in letters.fnmr.of.values()) == 3000
    assert sum(rate.num_pairs for rate in letters.fmr.of.values()) == 3000
    assert all(test.corrected > 0.05 for test in letters.tests)
