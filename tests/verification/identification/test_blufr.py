import statistics
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from facever.errors import DataError, FileError, ParameterError
from facever.inference.embeddings_file import read_embeddings
from facever.verification import all_pairs
from facever.verification.all_pairs import all_pairs_tar_at_far
from facever.verification.identification.blufr import (
    evaluate_blufr,
    evaluate_blufr_trial,
)
from facever.verification.protocols.blufr_trials import (
    BlufrTrial,
    BlufrTrials,
    draw_blufr_trials,
    read_blufr_trials,
)
from facever.verification.protocols.identity_list import IdentityList

# Of these vectors every cosine is a multiple of 1/2, exact in float32, with many ties.
CORNERS = list(product([-1.0, 1.0], repeat=4))

photo = st.tuples(
    st.integers(0, 3), st.sampled_from(CORNERS), st.integers(0, 4).map(bool)
)
blocks = st.sampled_from([1, 7, 2**22])


@given(
    st.lists(photo, min_size=3, max_size=16),
    st.sampled_from([0.02, 0.1, 0.29, 0.5, 0.97]),
    blocks,
)
def test_all_pairs_are_those_of_loops(photos, target: float, block: int) -> None:
    images = [f"{i}.jpg" for i in range(len(photos))]
    names = IdentityList(images, [str(who) for who, _, _ in photos])
    present = [i for i, (_, _, has) in enumerate(photos) if has]
    genuine, impostor = [], []
    for (who, a, has_a), (other, b, has_b) in combinations(photos, 2):
        dot = sum(x * y for x, y in zip(a, b, strict=True)) / 4
        score = dot if has_a and has_b else float("-inf")
        (genuine if who == other else impostor).append(score)
    embeddings = np.array([photos[i][1] for i in present]).reshape(-1, 4)

    def answer() -> Any:
        with mock.patch.object(all_pairs, "_BLOCK_SCORES", block):
            return all_pairs_tar_at_far(
                embeddings, [images[i] for i in present], names, target
            )

    if not genuine or (len(impostor) >= 1 / target and not present):
        with pytest.raises(DataError):
            answer()
    elif len(impostor) < 1 / target:
        assert (answer().far, answer().tar, answer().threshold) == (None, None, None)
        assert f"pairs, there are {len(impostor)}" in answer().note
    else:
        point = answer()
        levels = [*genuine, *impostor, float("-inf"), 9.0]
        possible = [
            (
                sum(score > level for score in impostor) / len(impostor),
                sum(score > level for score in genuine) / len(genuine),
            )
            for level in levels
        ]
        assert point.far <= target
        assert point.tar == max(tar for far, tar in possible if far <= target)
        assert (point.far, point.tar) == (
            sum(score > point.threshold for score in impostor) / len(impostor),
            sum(score > point.threshold for score in genuine) / len(genuine),
        )


def people_of(sizes: list[int]) -> IdentityList:
    photos = [
        (f"{p}/{n}.jpg", str(p)) for p, size in enumerate(sizes) for n in range(size)
    ]
    return IdentityList([image for image, _ in photos], [who for _, who in photos])


def faces_of(photos: IdentityList, seed: int = 0, dim: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = {who: rng.normal(size=dim) for who in dict.fromkeys(photos.identities)}
    noise = rng.normal(size=(len(photos), dim))
    return np.array([centers[who] for who in photos.identities]) + 0.7 * noise


@pytest.mark.parametrize("block", [1, 5000, 2**22])
def test_all_pairs_agree_with_scikit_learn(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = people_of([1, 2, 3, 4, 5] * 12)
    embeddings = faces_of(photos)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(units), k=1)
    who = np.array(photos.identities)
    far, tar, _ = roc_curve(
        who[first] == who[second],
        (units @ units.T)[first, second],
        drop_intermediate=False,
    )
    monkeypatch.setattr(all_pairs, "_BLOCK_SCORES", block)
    for target in (1e-3, 0.01, 0.2, 0.8):
        point = all_pairs_tar_at_far(embeddings, photos.images, photos, target)
        place = np.flatnonzero(far <= target)[-1]
        assert (point.far, point.tar) == pytest.approx((far[place], tar[place]))


def test_all_pairs_by_hand() -> None:
    # Degrees: Ann 0 and 10, Bob 14 and 60. Genuine pairs: 10 and 46 degrees apart;
    # impostor pairs: 14, 60, 4 and 50. At FAR 1/4 the one of 4 degrees is accepted,
    # and the threshold is the next, 14.
    angles = np.radians([0, 10, 14, 60])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    photos = IdentityList(["a", "b", "c", "d"], ["Ann", "Ann", "Bob", "Bob"])
    point = all_pairs_tar_at_far(embeddings, photos.images, photos, 0.25)
    assert (point.far, point.tar, point.note) == (0.25, 0.5, "")
    assert point.threshold == pytest.approx(np.cos(np.radians(14)), abs=1e-6)
    point = all_pairs_tar_at_far(embeddings, photos.images, photos, 0.2)
    assert point.tar is None
    assert point.note == "FAR 0.2 needs at least 5 impostor pairs, there are 4"
    # Without the photo at 14 degrees, the pairs of it are rejected, and still counted.
    point = all_pairs_tar_at_far(embeddings[[0, 1, 3]], ["a", "b", "d"], photos, 0.25)
    assert (point.far, point.tar) == (0.25, 0.5)
    assert point.threshold == pytest.approx(np.cos(np.radians(60)), abs=1e-6)


@pytest.mark.parametrize(
    ("target", "accepted"),
    [(0.29, 29), (np.nextafter(0.05, 0), 4), (0.05, 5), (0.0799, 7), (0.01, 1)],
)
def test_the_quotient_decides_what_is_allowed(target: float, accepted: int) -> None:
    # In floating point 0.29 * 100 is 28.99.., and 100 times the number below 0.05 is 5.
    photos = people_of([2] * 5 + [1] * 5)
    embeddings = faces_of(photos)
    point = all_pairs_tar_at_far(embeddings, photos.images, photos, float(target))
    assert point.far == accepted / 100


@given(st.randoms(use_true_random=False), blocks)
def test_the_order_changes_nothing(random, block: int) -> None:
    photos = people_of([1, 2, 3] * 4)
    vectors = np.array([CORNERS[(7 * i * i) % 16] for i in range(len(photos))])
    order = random.sample(range(len(photos)), len(photos))
    shuffled = IdentityList(
        [photos.images[i] for i in order], [photos.identities[i] for i in order]
    )
    with mock.patch.object(all_pairs, "_BLOCK_SCORES", block):
        one = all_pairs_tar_at_far(vectors, photos.images, photos, 0.1)
        other = all_pairs_tar_at_far(vectors, photos.images, shuffled, 0.1)
    assert one == other


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, np.nan])
def test_far_out_of_range(target: float) -> None:
    photos = people_of([2, 2])
    with pytest.raises(ParameterError, match=r"in \(0, 1\)"):
        all_pairs_tar_at_far(faces_of(photos), photos.images, photos, target)


def test_no_genuine_pair() -> None:
    photos = people_of([1] * 4)
    with pytest.raises(DataError, match="all pairs of 4 photos are impostors"):
        all_pairs_tar_at_far(faces_of(photos), photos.images, photos, 0.5)


def small_trial(seed: int) -> tuple[BlufrTrial, np.ndarray]:
    """20 people in the gallery, 2 probes of each, and 110 impostor probes."""
    photos = people_of([3] * 20 + [2] * 55)
    rows = [row for row, image in enumerate(photos.images)]
    gallery = [r for r in rows if r < 60 and photos.images[r].endswith("/0.jpg")]
    probes = [r for r in rows if r not in gallery]
    parts = [
        IdentityList([photos.images[r] for r in p], [photos.identities[r] for r in p])
        for p in (gallery, probes)
    ]
    return BlufrTrial(["train.jpg"], *parts), faces_of(photos, seed)


def test_a_trial_is_what_loops_say() -> None:
    trial, embeddings = small_trial(1)
    images = people_of([3] * 20 + [2] * 55).images
    result = evaluate_blufr_trial(embeddings, images, trial)
    assert result.missing == []
    who = {
        i: w
        for part in (trial.gallery, trial.probes)
        for i, w in zip(part.images, part.identities, strict=True)
    }
    units = {
        image: vector / np.linalg.norm(vector)
        for image, vector in zip(images, embeddings, strict=True)
    }
    # Verification over the pairs of gallery and probes together.
    genuine, impostor = [], []
    for a, b in combinations(images, 2):
        (genuine if who[a] == who[b] else impostor).append(float(units[a] @ units[b]))
    allowed = int(len(impostor) * 0.001)
    assert allowed == 14
    threshold = sorted(impostor, reverse=True)[allowed]
    assert result.verification.far == allowed / len(impostor)
    assert result.verification.tar == sum(g > threshold for g in genuine) / len(genuine)
    # Identification: 1 of 110 impostor probes may be accepted.
    best = {
        probe: max((float(units[probe] @ units[g]), g) for g in trial.gallery.images)
        for probe in trial.probes.images
    }
    enrolled = set(trial.gallery.identities)
    others = sorted(best[p][0] for p in trial.probes.images if who[p] not in enrolled)
    mated = [p for p in trial.probes.images if who[p] in enrolled]
    assert (len(mated), len(others)) == (40, 110)
    found = [who[best[p][1]] == who[p] and best[p][0] > others[-2] for p in mated]
    assert result.identification.fpir == 1 / 110
    assert result.identification.tpir == sum(found) / 40
    assert 0 < sum(found) < 40


def test_reported_is_mean_minus_sample_deviation() -> None:
    trial, embeddings = small_trial(1)
    images = people_of([3] * 20 + [2] * 55).images
    # Another gallery photo of each person makes another trial.
    swapped = {f"{p}/0.jpg": f"{p}/1.jpg" for p in range(20)}
    swapped |= {new: old for old, new in swapped.items()}
    other = replace(
        trial,
        gallery=replace(
            trial.gallery, images=[swapped[i] for i in trial.gallery.images]
        ),
        probes=replace(
            trial.probes, images=[swapped.get(i, i) for i in trial.probes.images]
        ),
    )
    trials = BlufrTrials([trial, other, trial], "made up")
    result = evaluate_blufr(embeddings, images, trials)
    assert result.origin == "made up"
    single = [evaluate_blufr_trial(embeddings, images, t) for t in trials.trials]
    assert result.results == single
    rates = [r.identification.tpir for r in single]
    assert rates[0] != rates[1]
    assert result.identification_rates.tolist() == rates
    assert result.reported_identification == pytest.approx(
        statistics.mean(rates) - statistics.stdev(rates)
    )
    assert result.verification_rates.tolist() == [r.verification.tar for r in single]
    result = replace(result, verification_rates=np.array([0.5, 0.6, 0.9]))
    # By hand: mean 2/3, deviations -1/6, -1/15, 7/30, variance 0.0433.
    assert result.reported_verification == pytest.approx(0.4585, abs=1e-4)


def test_trials_that_cannot_be_reported() -> None:
    trial, embeddings = small_trial(1)
    images = people_of([3] * 20 + [2] * 55).images
    with pytest.raises(DataError, match=r"at least 2 trials, got 1 \(one\)"):
        evaluate_blufr(embeddings, images, BlufrTrials([trial], "one"))
    few = replace(
        trial,
        probes=IdentityList(trial.probes.images[:-11], trial.probes.identities[:-11]),
    )
    with pytest.raises(DataError, match=r"trial 2 of two: FPIR .* at least 100"):
        evaluate_blufr(embeddings, images, BlufrTrials([trial, few], "two"))


def test_missing_photos_of_a_trial_are_named() -> None:
    trial, embeddings = small_trial(1)
    images = people_of([3] * 20 + [2] * 55).images
    # Photos 0 and 1 of the first person: a gallery photo and a probe.
    result = evaluate_blufr_trial(embeddings[2:], images[2:], trial)
    assert result.missing == ["0/0.jpg", "0/1.jpg"]


LFW_SIZES = [2] * 1_000 + [5] * 680 + [1] * 4_069


def test_drawn_trials_have_the_published_sizes() -> None:
    photos = people_of(LFW_SIZES)
    drawn = draw_blufr_trials(photos, seed=5)
    assert drawn.origin == "NOT the official trials: drawn with seed 5"
    assert len(drawn.trials) == 10
    who = dict(zip(photos.images, photos.identities, strict=True))
    for trial in drawn.trials:
        training = {who[image] for image in trial.training}
        tested = set(trial.test.identities)
        assert (len(training), len(tested)) == (1_500, 4_249)
        assert not training & tested
        parts = [*trial.training, *trial.gallery.images, *trial.probes.images]
        assert sorted(parts) == sorted(photos.images)
        assert len(set(trial.gallery.identities)) == len(trial.gallery) == 1_000
        # Every person in the gallery has a genuine probe.
        assert set(trial.gallery.identities) < set(trial.probes.identities)
        for part in (trial.gallery, trial.probes):
            assert part.identities == [who[image] for image in part.images]
    galleries = {tuple(trial.gallery.images) for trial in drawn.trials}
    assert len(galleries) == 10
    # Any of a person's photos may be the one in the gallery.
    numbers = {image.split("/")[1] for image in drawn.trials[0].gallery.images}
    assert numbers == {f"{n}.jpg" for n in range(5)}


def test_a_seed_draws_the_same_trials_from_any_order() -> None:
    photos = people_of(LFW_SIZES)
    turned = IdentityList(photos.images[::-1], photos.identities[::-1])
    drawn = draw_blufr_trials(photos, seed=5)
    assert draw_blufr_trials(turned, seed=5) == drawn
    assert draw_blufr_trials(photos, seed=6).trials != drawn.trials


@pytest.mark.parametrize("sizes", [[1] * 5_749, [2] * 2_499])
def test_too_few_people_to_draw(sizes: list[int]) -> None:
    with pytest.raises(DataError, match="1,500 people to train on and"):
        draw_blufr_trials(people_of(sizes), seed=0)


def cells(*contents: list[float]) -> np.ndarray:
    array = np.empty((len(contents), 1), dtype=object)
    for place, content in enumerate(contents):
        array[place, 0] = np.array(content, dtype=np.float64)[:, None]
    return array


NAMES = ["Al_Gore_0001.jpg", "Al_Gore_0010.jpg", "Bo_0001.jpg", "Cy_0002.jpg"]
FIELDS: dict[str, Any] = {
    "imageList": np.array([[name] for name in NAMES], dtype=object),
    "labels": np.array([[1], [1], [2], [3]], dtype=np.uint16),
    "trainIndex": cells([3], [4]),
    "testIndex": cells([1, 2, 4], [1, 2, 3]),
    "galIndex": cells([1], [2]),
    "probIndex": cells([2, 4], [1, 3]),
}


def test_matlab_file(tmp_path: Path) -> None:
    path = tmp_path / "blufr_lfw_config.mat"
    scipy.io.savemat(path, FIELDS)
    read = read_blufr_trials(path)
    assert read.origin == "trials of blufr_lfw_config.mat"
    assert read.trials == [
        BlufrTrial(
            ["Bo/Bo_0001.jpg"],
            IdentityList(["Al_Gore/Al_Gore_0001.jpg"], ["1"]),
            IdentityList(["Al_Gore/Al_Gore_0010.jpg", "Cy/Cy_0002.jpg"], ["1", "3"]),
        ),
        BlufrTrial(
            ["Cy/Cy_0002.jpg"],
            IdentityList(["Al_Gore/Al_Gore_0010.jpg"], ["1"]),
            IdentityList(["Al_Gore/Al_Gore_0001.jpg", "Bo/Bo_0001.jpg"], ["1", "2"]),
        ),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": None, "galIndex": None}, "has no labels and no galIndex; expected"),
        ({"labels": np.array([[1], [2]])}, "malformed"),
        ({"galIndex": cells([0], [1])}, "malformed .KeyError: 0"),
        ({"galIndex": cells([5], [1])}, "malformed .KeyError: 5"),
        ({"galIndex": cells([], [1])}, "malformed"),
        ({"galIndex": cells([1])}, "malformed"),
        ({"galIndex": cells([1.5], [1])}, "malformed .KeyError: 1.5"),
        ({"imageList": np.ones((4, 1))}, "malformed"),
    ],
)
def test_wrong_matlab_fields(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "wrong.mat"
    fields = {k: v for k, v in {**FIELDS, **change}.items() if v is not None}
    scipy.io.savemat(path, fields)
    with pytest.raises(DataError, match=says) as caught:
        read_blufr_trials(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_matlab_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no file at"):
        read_blufr_trials(tmp_path / "none.mat")
    path = tmp_path / "good.mat"
    scipy.io.savemat(path, FIELDS)
    good = path.read_bytes()
    newest = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600)
    for content in (b"", b"no matlab\n" * 30, good[:-20], newest):
        path.write_bytes(content)
        with pytest.raises(FileError, match="is no MATLAB file") as caught:
            read_blufr_trials(path)
        assert "\n" not in str(caught.value)


@pytest.mark.realdata
def test_pairs_of_two_thousand_real_photos(data_folder: Path) -> None:
    file = read_embeddings(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    images = file.images[:2000]
    photos = IdentityList(images, [image.split("/")[0] for image in images])
    point = all_pairs_tar_at_far(file.embeddings, file.images, photos, 1e-3)
    units = file.embeddings[:2000].astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    first, second = np.triu_indices(2000, k=1)
    who = np.array(photos.identities)
    same = who[first] == who[second]
    scores = (units @ units.T)[first, second]
    threshold = np.sort(scores[~same])[-int(1e-3 * np.sum(~same)) - 1]
    assert point.threshold == pytest.approx(threshold, abs=1e-6)
    assert point.tar == pytest.approx(np.mean(scores[same] > threshold), abs=1e-3)
    assert 0.8 < np.mean(scores[same] > threshold) < 1
