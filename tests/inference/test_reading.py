"""Photos, faces, crops and embeddings by the one way, whatever asks for them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facever.choices import Detector
from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.faces.detection import Face
from facever.faces.detectors import (
    DETECTORS,
    DetectorKind,
    check_detector,
    make_detector,
)
from facever.faces.templates import CARD_POINTS
from facever.inference.embedder import Embedder, load
from facever.stages.align import align


def detect(photos: Sequence[np.ndarray]) -> list[list[Face]]:
    """A face at the left and, in wide photos, a larger one at the right."""
    found = []
    for photo in photos:
        right = Face(
            CARD_POINTS + np.array([96.0, 0]), np.array([96.0, 0, 191, 111]), 0.8
        )
        left = Face(CARD_POINTS.copy(), np.array([9.0, 9, 50, 50]), 0.9)
        faces = [right, left] if photo.shape[1] > 96 else [left]
        found.append(faces if photo.any() else [])
    return found


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that detectors are made on."""
    made: list[str] = []

    def make(device: str, backend: str) -> Callable[..., list[list[Face]]]:
        made.append(device)
        return detect

    monkeypatch.setitem(DETECTORS, "mtcnn", DetectorKind(make, has_backends=True))
    return made


@pytest.fixture
def embedder(
    tmp_path: Path, make_model: Callable[..., Path], devices: list[str]
) -> Embedder:
    return load(make_model(tmp_path / "m.safetensors"), "cpu", "fp32")


def draw(seed: int, width: int = 96) -> np.ndarray:
    small = np.random.default_rng(seed).integers(1, 256, (7, 6, 3), dtype=np.uint8)
    return cv2.resize(small, (width, 112))


def test_every_name_has_a_detector() -> None:
    assert tuple(DETECTORS) == Detector.__args__
    assert make_detector("crops") is None
    with pytest.raises(ParameterError, match="detector must be one of mtcnn, "):
        check_detector("retina")


def test_faces_of_a_photo_come_with_crops_and_embeddings(embedder: Embedder) -> None:
    photo = np.concatenate([draw(1), draw(2)], axis=1)
    right, left = embedder.faces(photo)
    assert (right.score, left.score) == (0.8, 0.9)
    np.testing.assert_array_equal(left.landmarks, CARD_POINTS)
    # Columns next to the other face are warped with it.
    np.testing.assert_array_equal(left.crop[:, :90], photo[:, :90])
    both = embedder.embed_crops(np.stack([right.crop, left.crop]))
    for face, features in zip((right, left), both, strict=True):
        length = np.sqrt((features.astype(np.float64) ** 2).sum())
        np.testing.assert_allclose(face.embedding, features / length, atol=1e-6)
    assert "box=(96, 0, 191, 111), score=0.800, embedding of 16" in repr(right)
    assert embedder.faces(np.zeros((112, 96, 3), np.uint8)) == []


def test_what_fails_says_why_and_the_others_stay(
    embedder: Embedder, tmp_path: Path
) -> None:
    photos = [draw(1), tmp_path / "none.jpg", np.zeros((9, 9, 3), np.uint8), draw(2)]
    read = embedder.read(photos)
    assert [photo.reason for photo in read] == [
        None,
        "cannot be opened: No such file or directory",
        "no face found",
        None,
    ]
    expected = embedder.embed([photos[0], photos[3]])
    np.testing.assert_array_equal(read[0].embeddings[0], expected[0])
    np.testing.assert_array_equal(read[3].embeddings[0], expected[1])
    assert [len(photo.embeddings) for photo in read] == [1, 0, 0, 1]
    assert embedder.read([]) == []


def test_photos_of_one_name_in_two_folders_are_two(
    embedder: Embedder, tmp_path: Path
) -> None:
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder / "Ann").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "Ann/1.png"), draw(seed)[:, :, ::-1])
    listed = [find_photos(tmp_path / folder).photos[0] for folder in "ab"]
    assert [photo.source for photo in listed] == ["Ann/1.png"] * 2
    np.testing.assert_array_equal(
        embedder.embed(listed), embedder.embed([draw(1), draw(2)])
    )


def test_the_detector_is_made_once_and_on_the_device_of_the_network(
    tmp_path: Path, make_model: Callable[..., Path], devices: list[str]
) -> None:
    embedder = load(make_model(tmp_path / "m.safetensors"), "cpu", "fp32")
    assert devices == []
    embedder.embed([draw(1), draw(2)])
    embedder.faces(draw(1))
    assert devices == ["cpu"]
    # No such device is needed to see what the detector is asked for.
    other = load(tmp_path / "m.safetensors", "cpu", "fp32")
    other._device = "cuda:3"
    other.align([draw(1)])
    assert devices == ["cpu", "cuda:3"]


def test_aligned_stored_and_embedded_as_by_the_stages(
    embedder: Embedder, tmp_path: Path
) -> None:
    """Python's embeddings are those of align's crops."""
    for name in ("Ann/1.png", "Bo/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "photos" / name), draw(len(name) + ord(name[0])))
    align(tmp_path / "photos", tmp_path / "crops", workers=1)
    store = CropStore.open(tmp_path / "crops")
    found = embedder.embed(find_photos(tmp_path / "photos").photos)
    raw = embedder.embed_crops(store.crops)
    np.testing.assert_allclose(
        found, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6
    )


def test_crops_as_photos_and_listed_landmarks_need_no_detector(
    tmp_path: Path, make_model: Callable[..., Path], devices: list[str]
) -> None:
    path = make_model(tmp_path / "m.safetensors")
    embedder = load(path, "cpu", "fp32", detector="crops")
    wide = np.concatenate([draw(5, 8), draw(1), draw(6, 8)], axis=1)
    [left, right] = embedder.embed([wide, draw(1)])
    np.testing.assert_array_equal(left, right)
    with pytest.raises(DataError, match="array 0: not an aligned crop: 50x112"):
        embedder.embed([draw(1, 50)])
    cv2.imwrite(str(tmp_path / "a.png"), draw(1)[:, :, ::-1])
    points = ",".join(f"{value:.4f}" for value in CARD_POINTS.ravel())
    columns = ",".join(f"x{n},y{n}" for n in range(1, 6))
    listed = tmp_path / "list.csv"
    listed.write_text(f"source,identity,{columns}\na.png,Ann,{points}\n")
    listing = find_photos(listed)
    assert listing.has_landmarks
    [found] = load(path, "cpu", "fp32").read(listing.photos, by_landmarks=True)
    np.testing.assert_array_equal(found.crops[0], draw(1))
    assert devices == []


def test_one_photo_gives_one_embedding_and_many_give_rows(
    embedder: Embedder, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), draw(1)[:, :, ::-1])
    rows = embedder.embed([draw(1), draw(2)])
    assert rows.shape == (2, 16)
    for one in (draw(1), path, str(path), path.read_bytes()):
        found = embedder.embed(one)
        assert found.shape == (16,)
        np.testing.assert_allclose(found, rows[0], atol=1e-6)
    for many in ((draw(1), draw(2)), np.stack([draw(1), draw(2)])):
        np.testing.assert_array_equal(embedder.embed(many), rows)
    assert embedder.embed([draw(1)]).shape == (1, 16)
    assert embedder.embed(iter(())).shape == (0, 16)


def test_every_method_takes_opencvs_order(embedder: Embedder) -> None:
    photo, bgr = draw(1), draw(1)[:, :, ::-1]
    expected = embedder.embed(photo)
    assert not np.allclose(embedder.embed(bgr), expected, atol=1e-3)
    [aligned] = embedder.align([bgr], channels="bgr")
    np.testing.assert_array_equal(aligned.crops[0], photo)
    [read] = embedder.read([bgr], channels="bgr")
    [face] = embedder.faces(bgr, channels="bgr")
    for found in (
        read.embeddings[0],
        face.embedding,
        embedder.embed(bgr, channels="bgr"),
        embedder.embed([bgr], channels="bgr")[0],
        embedder.embed([bgr], channels="bgr", on_error="skip").embeddings[0],
    ):
        np.testing.assert_array_equal(found, expected)
    left, right = embedder.embed([bgr, draw(2)[:, :, ::-1]], channels="bgr")
    answer = embedder.verify(bgr, draw(2)[:, :, ::-1], channels="bgr")
    assert answer.cosine == pytest.approx(float(left @ right), abs=1e-6)


BLACK = np.zeros((112, 96, 3), np.uint8)


def test_skipped_photos_are_told_and_the_others_stay(
    embedder: Embedder, tmp_path: Path
) -> None:
    photos = [draw(1), b"no image", draw(2), BLACK, tmp_path / "none.jpg", draw(3)]
    found = embedder.embed(photos, on_error="skip")
    assert found.kept == [0, 2, 5]
    np.testing.assert_allclose(
        found.embeddings, embedder.embed([draw(1), draw(2), draw(3)]), atol=1e-6
    )
    assert sorted(found.failed) == [1, 3, 4]
    assert found.failed[1] == "cannot read bytes 1: not an image that can be read"
    assert found.failed[3].startswith("no face found in array 3")
    assert "none.jpg" in found.failed[4]
    assert repr(found) == "KeptEmbeddings(3 kept, 3 failed)"
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["kept"] == [0, 2, 5]
    assert len(plain["embeddings"][2]) == 16
    assert plain["failed"]["1"] == found.failed[1]
    nothing = embedder.embed(BLACK, on_error="skip")
    assert (nothing.embeddings.shape, nothing.kept) == ((0, 16), [])


def test_photos_of_every_kind_keep_to_the_limit_of_pixels(
    embedder: Embedder, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw(1))
    content = (tmp_path / "a.png").read_bytes()
    model = tmp_path / "m.safetensors"
    for limit, num_read in [(112 * 96, 4), (112 * 96 - 1, 0)]:
        limited = load(model, "cpu", "fp32", max_pixels=limit)
        with (tmp_path / "a.png").open("rb") as file:
            kinds = [tmp_path / "a.png", content, file, Image.fromarray(draw(1))]
            found = limited.embed(kinds, on_error="skip")
        assert len(found.kept) == num_read
        assert all("too large: 96x112" in why for why in found.failed.values())


@pytest.mark.usefixtures("types_unchecked")
def test_what_is_no_photo_is_an_error_in_every_method(embedder: Embedder) -> None:
    calls: list[Callable[[], object]] = [
        lambda: embedder.align([3]),
        lambda: embedder.read([draw(1), None]),
        lambda: embedder.faces({"photo": 1}),
        lambda: embedder.embed(3),
        lambda: embedder.embed([draw(1), 3], on_error="skip"),
        lambda: embedder.embed("https://example.org/a.jpg"),
        lambda: embedder.verify(draw(1), [draw(2)]),
        lambda: embedder.read("a.jpg"),
    ]
    for call in calls:
        with pytest.raises(ParameterError):
            call()
    with pytest.raises(ParameterError, match="on_error must be raise or skip, got 'no"):
        embedder.embed([], on_error="none")


def test_a_generator_of_many_photos_is_read_a_few_at_a_time(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, at_a_time = [], []
    read = embedder.read

    def watched(photos: Sequence[object]) -> object:
        at_a_time.append(len(made) - sum(at_a_time))
        return read(photos)

    monkeypatch.setattr(embedder, "read", watched)

    def generate() -> Iterator[np.ndarray]:
        for number in range(70):
            made.append(number)
            yield BLACK if number == 65 else draw(number % 3)

    found = embedder.embed(generate(), on_error="skip")
    assert at_a_time == [32, 32, 6]
    assert found.kept == [*range(65), *range(66, 70)]
    assert "array 65;" in found.failed[65]
    three = embedder.embed([draw(0), draw(1), draw(2)])
    np.testing.assert_allclose(
        found.embeddings, three[[place % 3 for place in found.kept]], atol=1e-6
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_an_embedding_without_direction_is_an_error_that_names_the_photo(
    embedder: Embedder, value: float
) -> None:
    """The network fails on the photo that begins with black."""
    compute = embedder.started.compute

    def failing(crops: np.ndarray, with_mirrored: bool) -> np.ndarray:
        features = compute(crops, with_mirrored).copy()
        features[:, (crops[:, :, 0] < 7).all(axis=(1, 2))] = value
        return features

    embedder.started = replace(embedder.started, compute=failing)
    bad = draw(2).copy()
    bad[:, 0] = 0
    expected = embedder.embed(draw(1))
    for call in (
        lambda: embedder.embed([draw(1), bad]),
        lambda: embedder.verify(draw(1), bad),
    ):
        with pytest.raises(DataError, match="array 1: the network's embedding is all"):
            call()
    with pytest.raises(DataError, match="array 0: the network's embedding is all"):
        embedder.faces(bad)
    read = embedder.read([bad, draw(1)])
    assert read[0].reason == "the network's embedding is all zero or not finite"
    assert (len(read[0].faces), len(read[0].crops), len(read[0].embeddings)) == (0,) * 3
    found = embedder.embed([bad, draw(1)], on_error="skip")
    assert (found.kept, list(found.failed)) == ([1], [0])
    np.testing.assert_allclose(found.embeddings[0], expected, atol=1e-6)


def test_verify_says_which_faces_it_compared(embedder: Embedder) -> None:
    both = np.concatenate([draw(1), draw(2)], axis=1)
    answer = embedder.verify(both, draw(2))
    assert (answer.first.num_faces, answer.second.num_faces) == (2, 1)
    assert (answer.first.source, answer.second.source) == ("array 0", "array 1")
    assert list(answer.first.face.box) == [96, 0, 191, 111]
    best = embedder.verify(both, draw(1), face="best")
    assert best.first.num_faces == 2
    assert list(best.first.face.box) == [9, 9, 50, 50]
    # Next to the other face, the crop takes some columns of it.
    assert best.cosine > 0.99
    assert embedder.verify(both, draw(2), face="best").cosine < best.cosine
    assert str(best).splitlines()[1] == (
        "array 0: 2 faces; the one compared is in columns 9 to 50, rows 9 to 50"
    )
    assert json.loads(json.dumps(best.to_dict()))["first"] == {
        "source": "array 0",
        "num_faces": 2,
        "face": {
            "box": [9, 9, 50, 50],
            "landmarks": best.first.face.landmarks.tolist(),
            "score": 0.9,
        },
    }


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("rule", ["all", "smallest"])
def test_verify_compares_one_face_of_each_photo(embedder: Embedder, rule: str) -> None:
    with pytest.raises(ParameterError, match=f"largest, center, best, got '{rule}'"):
        embedder.verify(draw(1), draw(2), face=rule)


def test_verify_judges_by_the_threshold_that_is_asked_for(
    tmp_path: Path, make_model: Callable[..., Path], devices: list[str]
) -> None:
    path = make_model(
        tmp_path / "m.safetensors",
        threshold=0.25,
        threshold_far=0.001,
        thresholds=[(0.01, -0.5), (0.001, 0.25), (0.0001, 1.0)],
    )
    embedder = load(path, "cpu", "fp32")
    photos = draw(1), draw(2)
    cosine = embedder.verify(*photos).cosine
    for options, threshold, far in (
        ({}, 0.25, 0.001),
        ({"far": 0.01}, -0.5, 0.01),
        ({"far": 1e-4}, 1.0, 0.0001),
        ({"threshold": 0.5}, 0.5, None),
    ):
        answer = embedder.verify(*photos, **options)
        assert (answer.threshold, answer.far) == (threshold, far)
        assert answer.same is (cosine > threshold)
        assert answer.cosine == cosine


def test_faces_and_photos_read_well_and_as_plain_values(embedder: Embedder) -> None:
    photo = np.concatenate([draw(1), draw(2)], axis=1)
    right, _ = embedder.faces(photo)
    plain = json.loads(json.dumps(right.to_dict()))
    assert sorted(plain) == ["box", "embedding", "landmarks", "score"]
    assert plain["box"] == [96, 0, 191, 111]
    np.testing.assert_allclose(plain["embedding"], right.embedding, atol=1e-7)
    aligned, dark = embedder.align([photo, BLACK])
    assert repr(aligned) == "AlignedPhoto('array 0', 192x112, 1 of 2 faces)"
    assert repr(dark) == "AlignedPhoto('array 1', 96x112, no face found)"
    assert repr(aligned.faces) == "[Face(box=(96, 0, 191, 111), score=0.800)]"
    assert aligned.to_dict()["taken_by"] == [["prominent", "largest", "center"]]
    [read] = embedder.read([photo], "all")
    assert repr(read) == "EmbeddedPhoto('array 0', 192x112, 2 of 2 faces)"
    plain = json.loads(json.dumps(read.to_dict()))
    assert plain["num_found"] == len(plain["faces"]) == len(plain["embeddings"]) == 2
    assert (plain["source"], plain["reason"]) == ("array 0", None)
    assert "crops" not in plain
