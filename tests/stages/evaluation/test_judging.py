from typing import get_args

import numpy as np
import pytest

from facever.choices import Rule
from facever.errors import DataError, ParameterError
from facever.stages.evaluation.features import Features
from facever.stages.evaluation.judging import EXACT, Judging
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairList
from facever.verification.rules import RULES, judge


@pytest.fixture(scope="module")
def pairs() -> PairList:
    """Two folds of two people each, four photos a person: all of a fold's pairs."""
    left, right, same, fold = [], [], [], []
    for f in (0, 1):
        photos = [f"P{p}/{n}.jpg" for p in (2 * f, 2 * f + 1) for n in range(4)]
        for i, first in enumerate(photos):
            for second in photos[i + 1 :]:
                left.append(first)
                right.append(second)
                same.append(first[:2] == second[:2])
                fold.append(f)
    return PairList(left, right, np.array(same), np.array(fold, dtype=np.int64))


@pytest.fixture(scope="module")
def features() -> Features:
    """Of six dimensions, and away from the origin so that the mean matters."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(4, 6)).repeat(4, axis=0)
    embeddings = centers + rng.normal(size=(16, 6)) + 1
    images = [f"P{p}/{n}.png" for p in range(4) for n in range(4)]
    return Features(embeddings.astype(np.float32), images, {}, {}, None)


def without(features: Features, gone: str) -> Features:
    keep = [row for row, image in enumerate(features.images) if image != gone]
    images = [features.images[row] for row in keep]
    return Features(features.embeddings[keep], images, {}, {}, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"PCA to 3, cosine": {"pca_components": 3}, "cosine": {}}),
        ({"pca": False}, {"cosine": {}}),
        (
            {"pca_components": 2, "whiten": True},
            {
                "PCA to 2 whitened, cosine": {"pca_components": 2, "whiten": True},
                "cosine": {},
            },
        ),
        (
            {"measure": "euclidean", "subtract_mean": True},
            {
                "PCA to 3, euclidean": {"pca_components": 3, "measure": "euclidean"},
                "euclidean, mean subtracted": {
                    "measure": "euclidean",
                    "subtract_mean": True,
                },
            },
        ),
        (
            {"pca": False, "subtract_mean": True},
            {"cosine, mean subtracted": {"subtract_mean": True}},
        ),
    ],
    ids=["all", "plain", "whitened", "euclidean", "centred"],
)
def test_comparisons_and_their_names(
    features: Features,
    pairs: PairList,
    options: dict[str, object],
    expected: dict[str, dict[str, object]],
) -> None:
    judging = Judging(**options)
    judging.check()
    found = judging.evaluate(features, pairs).evaluations
    assert list(found) == list(expected)
    for name, arguments in expected.items():
        alone = evaluate_pairs(features.embeddings, features.images, pairs, **arguments)
        np.testing.assert_array_equal(found[name].scores, alone.scores)
        np.testing.assert_array_equal(found[name].thresholds, alone.thresholds)
        assert found[name].pca_components == arguments.get("pca_components")


def test_a_missing_photo_by_each_rule(features: Features, pairs: PairList) -> None:
    fewer = without(features, "P1/2.png")
    members = zip(pairs.left, pairs.right, strict=True)
    gone = np.array(["P1/2.jpg" in both for both in members])
    rejected = Judging(missing="reject").evaluate(fewer, pairs).evaluations
    lowest = Judging(missing="lowest").evaluate(fewer, pairs).evaluations
    for name in rejected:
        assert np.isneginf(rejected[name].scores[gone]).all()
        assert np.isfinite(lowest[name].scores[gone]).all()
        for found in (rejected[name], lowest[name]):
            assert found.missing == ["P1/2.jpg"]
            assert found.num_missing_pairs == gone.sum() == 7
    with pytest.raises(DataError, match=r"1 photos .* such as 'P1/2\.jpg'"):
        Judging(missing="error").evaluate(fewer, pairs)
    strict = Judging(missing="error").evaluate(features, pairs)
    assert list(strict.evaluations) == list(rejected)


def test_other_rules(features: Features, pairs: PairList) -> None:
    assert EXACT.other_rules(features, pairs) == {}
    found = Judging(rule="sphereface").other_rules(features, pairs)
    assert list(found) == ["exact", "sphereface"]
    alone = judge(features.embeddings, features.images, pairs, "sphereface")
    assert found["sphereface"].accuracy == alone.accuracy
    assert found["sphereface"].thresholds.tolist() == alone.thresholds.tolist()
    plain = EXACT.evaluate(features, pairs).evaluations["cosine"]
    assert found["exact"].accuracy == plain.accuracy
    every = Judging(rule="all").other_rules(features, pairs)
    assert list(every) == list(RULES)
    assert every["sphereface"].accuracy == alone.accuracy


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_can_be_asked_for(rule: Rule) -> None:
    Judging(rule=rule).check()


def test_the_choices_of_rules_are_those_of_the_table() -> None:
    assert get_args(Rule) == (*RULES, "all")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pca_components": 0}, "pca_components .* got 0"),
        ({"pca_components": -3}, "pca_components .* got -3"),
        ({"pca": False, "pca_components": 2}, "not given without PCA, got 2"),
        ({"pca": False, "whiten": True}, "whiten needs a PCA"),
        ({"rule": "insight"}, "insightface, .* or all, got 'insight'"),
        ({"rule": ""}, "got ''"),
    ],
    ids=str,
)
def test_what_does_not_go_together(
    types_unchecked: None, options: dict[str, object], says: str
) -> None:
    with pytest.raises(ParameterError, match=says) as caught:
        Judging(**options).check()
    assert "\n" not in str(caught.value)


def test_settings_say_how_it_was_done(features: Features, pairs: PairList) -> None:
    def settings_of(judging: Judging, *fitted_on: str) -> dict[str, object]:
        found = judging.evaluate(features, pairs).evaluations
        return dict(judging.settings(6, found, *fitted_on))

    settings = settings_of(EXACT)
    assert settings["embedding_size"] == 6
    assert settings["similarity"] == "cosine"
    assert str(settings["pca"]).startswith("to 3 of 6 dimensions, fitted for each fold")
    assert "whitened" not in str(settings["pca"])
    assert "rejected" in str(settings["missing_photos"])
    other = settings_of(
        Judging(pca_components=5, whiten=True, measure="euclidean", missing="lowest"),
        "on others",
    )
    assert other["similarity"] == "euclidean"
    assert other["pca"] == "to 5 of 6 dimensions, fitted on others, whitened"
    assert "least similar" in str(other["missing_photos"])
    none = settings_of(Judging(pca=False, missing="error"))
    assert none["pca"] is None
    assert none["missing_photos"] == "none is allowed"


def test_a_pca_that_nobody_asked_for_is_left_out_where_there_are_too_few_photos(
    pairs: PairList,
) -> None:
    rng = np.random.default_rng(0)
    images = [f"P{p}/{n}.png" for p in range(4) for n in range(4)]
    embeddings = rng.normal(size=(16, 18)).astype(np.float32)
    wide = Features(embeddings, images, {}, {}, None)  # Half of 18: 9, of 8 photos.
    found = EXACT.evaluate(wide, pairs)
    assert list(found.evaluations) == ["cosine"]
    assert EXACT.settings(18, found.evaluations)["pca"] is None
    [warning] = found.warnings
    assert warning.startswith("the PCA is left out: PCA to 9 components needs")
    with pytest.raises(ParameterError, match=r"fold 1 has 8; keep fewer .*--no-pca"):
        Judging(pca_components=9).evaluate(wide, pairs)
    fewer = Judging(pca_components=7).evaluate(wide, pairs)
    assert list(fewer.evaluations) == ["PCA to 7, cosine", "cosine"]
    assert fewer.warnings == ()
