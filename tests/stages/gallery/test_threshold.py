import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError, GalleryError, ParameterError
from facever.gallery.entries import Filter
from facever.gallery.folder.gallery import Gallery
from facever.inference.embeddings_file import read_embeddings
from facever.results import as_json
from facever.stages.gallery import enroll as stage
from facever.stages.gallery import search as gallery_search
from facever.stages.gallery.threshold import choose_threshold


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Thirty people with three photos each around their own direction."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(30, 8)).repeat(3, axis=0)
    file = tmp_path / "e.npz"
    np.savez(
        file,
        embeddings=(centers + 0.5 * rng.normal(size=(90, 8))).astype(np.float32),
        images=[f"P{row // 3}/{row % 3}.jpg" for row in range(90)],
    )
    stage.add(tmp_path / "people", None, file)
    return tmp_path / "people"


def cosines(people: Path) -> tuple[list[str], np.ndarray]:
    with Gallery(people) as gallery:
        [(entries, units)] = gallery.read()
    wide = units.astype(np.float64)
    return [entry.name for entry in entries], wide @ wide.T


def test_no_more_pairs_of_strangers_than_asked_for_are_above(people: Path) -> None:
    found = choose_threshold(people, far=0.01)
    names, scores = cosines(people)
    strangers = [
        scores[a, b]
        for a, b in itertools.combinations(range(90), 2)
        if names[a] != names[b]
    ]
    # 39.15 of 3,915 pairs: 39 are above, and the 40th is not.
    ordered = sorted(strangers, reverse=True)
    assert ordered[38] > found.threshold.cosine >= ordered[39] - 1e-6
    assert found.threshold.num_embeddings == 90


def test_unknown_people_are_nobody(people: Path) -> None:
    with Gallery(people) as gallery:
        with pytest.raises(GalleryError, match=r"no threshold .* gallery threshold"):
            gallery.identify(np.ones((1, 8)))

    found = choose_threshold(people, fpir=0.1)

    facts = json.loads(as_json(found.to_dict()))
    assert facts["threshold"]["rule"] == "fpir"
    assert {"open_set", "rank_one", "similar"} <= facts.keys()
    threshold = found.threshold.cosine
    names, scores = cosines(people)
    highest = [
        max(scores[a, b] for b in range(90) if names[a] != names[b]) for a in range(90)
    ]
    above = sum(score > threshold for score in highest)
    # Two photos that are each other's nearest have one score: 9 may fall amid a pair.
    assert above in (8, 9)
    assert sorted(highest)[-10] <= threshold
    assert found.open_set.fpir == above / 90
    assert choose_threshold(people, fpir=0.1).threshold == found.threshold
    with Gallery(people) as gallery:
        assert gallery.info().threshold == found.threshold
        [(_, units)] = gallery.read()
        hits = 0
        for row in range(90):
            other = [n for n in dict.fromkeys(names) if n != names[row]]
            [[best]] = gallery.search(units[row : row + 1], 1)
            assert best.name == names[row]
            [match] = gallery.identify(units[row : row + 1], Filter(other))
            hits += match is not None
        assert hits == above


@pytest.mark.parametrize("rate", [{"fpir": 0.2}, {"far": 0.01}])
def test_the_pairs_predict_a_rate_beside_the_measured_one(
    people: Path, rate: dict[str, float]
) -> None:
    found = choose_threshold(people, **rate)
    names, scores = cosines(people)
    # Over pairs, the threshold is a pair's own score, and not above itself.
    just_above = found.threshold.cosine + 1e-6
    above = [
        any(scores[a, b] > just_above for b in range(90) if names[b] == other)
        for a in range(90)
        for other in sorted(set(names) - {names[a]})
    ]
    assert len(above) == 90 * 29
    assert found.num_others == 29
    assert found.fmr == sum(above) / len(above)
    # No stranger is taken for somebody by any of 29 independent comparisons.
    nobody = 1.0
    for _ in range(29):
        nobody *= 1 - found.fmr
    assert found.independent_fpir == pytest.approx(1 - nobody)
    measured, predicted = found.open_set.fpir, found.independent_fpir
    assert f"{measured:.2%} of unknown people are taken for somebody" in str(found)
    assert f"{predicted:.2%} as predicted from pairs" in str(found)
    assert "N = 29 people" in str(found)
    facts = json.loads(as_json(found.to_dict()))
    assert facts["independent_fpir"] == predicted


def test_two_names_of_one_person_are_listed(people: Path) -> None:
    with Gallery(people) as gallery:
        [(_, units)] = gallery.read()
        gallery.add(["Twice"], units[:1], ["again.jpg"])
    found = choose_threshold(people, fpir=0.1, num_shown=1)
    first = found.similar[0]
    assert {first.first.name, first.second.name} == {"P0", "Twice"}
    assert first.cosine == pytest.approx(1)
    num_pairs = f"{len(found.similar)} pair{'s' if len(found.similar) > 1 else ''} of"
    assert f"to themselves: {num_pairs} different names; is somebody" in str(found)
    one = replace(found, similar=found.similar[:1])
    assert "to themselves: 1 pair of different names; is somebody" in str(one)
    assert "again.jpg" in str(found)


@pytest.mark.parametrize("rate", [{"fpir": 0.03}, {"far": 3e-4}])
def test_one_photo_under_several_names_is_named(
    people: Path, rate: dict[str, float]
) -> None:
    before = choose_threshold(people, **rate).threshold
    with Gallery(people) as gallery:
        [(entries, units)] = gallery.read()
        ids = gallery.add(["Twice"] * 8, units[:8], [f"{n}.jpg" for n in range(8)])
    with pytest.raises(DataError) as caught:
        choose_threshold(people, **rate)
    message = str(caught.value)
    assert "\n" not in message
    assert "calls everybody nobody" in message
    named = sum(
        f"{entry.source} of {entry.name} ({entry.id}) and {n}.jpg of Twice ({ids[n]})"
        in message
        for n, entry in enumerate(entries[:8])
    )
    assert named == 5
    assert "; and 3 more pairs; remove" in message
    with Gallery(people) as gallery:
        assert gallery.info().threshold == before
        gallery.remove(ids)
    assert choose_threshold(people, **rate).threshold == before


def test_searches_say_nobody_by_the_gallery_s_own_threshold(
    people: Path, tmp_path: Path
) -> None:
    threshold = choose_threshold(people, fpir=0.1).threshold.cosine
    answer = gallery_search.search(people, None, tmp_path / "e.npz", k=1).to_dict()
    assert (answer["threshold"], answer["threshold_fpir"]) == (threshold, 0.1)
    assert answer["photos"][0]["name"] == "P0"
    query = -read_embeddings(tmp_path / "e.npz").embeddings[:1]
    np.savez(tmp_path / "q.npz", embeddings=query, images=["q.jpg"])
    assert "nobody" in str(gallery_search.search(people, None, tmp_path / "q.npz", k=1))


def test_refuses_galleries_and_rates_that_cannot_tell(
    people: Path, tmp_path: Path
) -> None:
    for rates in ({}, {"far": 0.1, "fpir": 0.1}, {"far": 1.0}, {"fpir": 0.0}):
        with pytest.raises(ParameterError):
            choose_threshold(people, **rates)
    with pytest.raises(DataError, match="FAR 1e-05 needs at least 100,000"):
        choose_threshold(people, far=1e-5)
    with pytest.raises(DataError, match="at least 1,000 photos"):
        choose_threshold(people, fpir=1e-3)
    with Gallery(people) as gallery:
        assert gallery.info().threshold is None
    stage.create(tmp_path / "empty", embedding_size=8)
    with pytest.raises(DataError, match="needs at least 2 people"):
        choose_threshold(tmp_path / "empty", far=0.1)


@pytest.mark.realdata
def test_leave_one_out_of_lfw_is_as_brute_force_does_it(
    data_folder: Path, tmp_path: Path
) -> None:
    file = data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz"
    stage.add(tmp_path / "lfw", None, file)
    found = choose_threshold(tmp_path / "lfw", fpir=0.01)
    embeddings = read_embeddings(file)
    wide = embeddings.embeddings.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    names = [image.split("/")[0] for image in embeddings.images]
    codes = np.unique(names, return_inverse=True)[1]
    false, hits, ranked, num_mated = 0, 0, 0, 0
    for start in range(0, len(names), 500):
        rows = np.arange(start, min(start + 500, len(names)))
        scores = wide[rows] @ wide.T
        scores[rows - start, rows] = -1
        same = codes[rows, None] == codes
        other = np.where(same, -1, scores).max(axis=1)
        own = np.where(same, scores, -1).max(axis=1)
        false += np.sum(other > found.threshold.cosine)
        num_mated += np.sum(own > -1)
        ranked += np.sum(own > other)
        hits += np.sum((own > other) & (own > found.threshold.cosine))
    assert found.open_set.num_mated == num_mated == 9164
    assert found.rank_one == ranked / num_mated
    assert found.open_set.tpir == hits / num_mated
    assert found.open_set.fpir == false / len(names) <= 0.01
