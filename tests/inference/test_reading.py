"""Photos, faces, crops and embeddings by the one way, whatever asks for them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facever.choices import Detector
from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.faces.detection import Face
from facever.faces.detectors import DETECTORS, check_detector, make_detector
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

    def make(device: str) -> Callable[..., list[list[Face]]]:
        made.append(device)
        return detect

    monkeypatch.setitem(DETECTORS, "mtcnn", make)
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
    other._device = torch.device("cuda:3")
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
