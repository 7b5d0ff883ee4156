"""Faces that touch the photo's border: landmarks are those of the uncut photo.

Cuts are margins around the landmarks, left, top, right and bottom, in distances of the
eyes. Numbers on many photos stand in ``eval/reference/border-faces.json``.
"""

import numpy as np
import pytest

from facever.faces.detection import choose_faces
from facever.faces.detectors import make_detector
from facever.faces.photos import read_photo
from facever.faces.templates import CARD_POINTS, DEFAULT_TEMPLATE
from facever.synthetic import draw_face

CUTS = {
    "close": (0.8, 0.8, 0.8, 0.8),
    "closer": (0.5, 0.5, 0.5, 0.5),
    "as a crop": (0.86, 1.47, 0.86, 0.56),
    "corner": (0.5, 0.6, 2.0, 2.0),
    "mouth on the edge": (1.5, 2.0, 1.5, 0.05),
    "brow on the edge": (1.5, 0.35, 1.5, 1.5),
    "eye on the edge": (0.15, 1.5, 1.5, 1.5),
}
LIMITS = {"mtcnn": (0.08, 0.15), "yunet": (0.1, 0.2)}
"""Of the median and of 95 in 100 distances."""


@pytest.fixture(scope="module", params=LIMITS)
def detector(request):
    return request.param, make_detector(request.param)


def eyes(landmarks):
    return np.linalg.norm(landmarks[1] - landmarks[0])


def cut(photo, landmarks, margins):
    """A part of the photo, and where it begins."""
    low = landmarks.min(axis=0) - eyes(landmarks) * np.array(margins[:2])
    high = landmarks.max(axis=0) + eyes(landmarks) * np.array(margins[2:])
    left, top = np.maximum(low, 0).astype(int)
    right, bottom = high.astype(int) + 1
    return np.ascontiguousarray(photo[top:bottom, left:right]), (left, top)


def distances(detect, photos, truths, margins):
    """How far landmarks move where photos are cut; of the photos with a face."""
    parts, corners = zip(
        *(cut(*each, margins) for each in zip(photos, truths, strict=True)), strict=True
    )
    return [
        np.linalg.norm(faces[0].landmarks + corner - truth, axis=1).mean() / eyes(truth)
        for faces, corner, truth in zip(detect(parts), corners, truths, strict=True)
        if faces
    ]


def test_drawn_faces(detector):
    name, detect = detector
    photos = [draw_face(0, person, 0).photo for person in range(8)]
    truths = [faces[0].landmarks for faces in detect(photos)]
    moved = {kind: distances(detect, photos, truths, CUTS[kind]) for kind in CUTS}
    every = np.concatenate(list(moved.values()))
    assert len(every) >= 0.95 * len(photos) * len(CUTS)
    median, high = LIMITS[name]
    assert all(np.median(moved[kind]) < median for kind in CUTS)
    assert np.quantile(every, 0.95) < high


def test_a_face_of_which_eyes_and_mouth_alone_are_seen(detector):
    """Windows that reach over the border, or a grey border, find it."""
    name, detect = detector
    photos = [draw_face(0, person, 0).photo for person in range(8)]
    truths = [faces[0].landmarks for faces in detect(photos)]
    margin = {"mtcnn": 0.25, "yunet": 0.1}[name]
    assert len(distances(detect, photos, truths, [margin] * 4)) >= 5


@pytest.mark.realdata
def test_photos_of_lfw(detector, data_folder):
    name, detect = detector
    paths = sorted((data_folder / "lfw-deepfunneled").glob("*/*_0001.jpg"))[::800]
    photos = [read_photo(path) for path in paths]
    truths = [
        choose_faces(faces, (250, 250), "center")[0].landmarks
        for faces in detect(photos)
    ]
    moved = {kind: distances(detect, photos, truths, CUTS[kind]) for kind in CUTS}
    every = np.concatenate(list(moved.values()))
    assert len(every) >= 0.99 * len(photos) * len(CUTS)
    median, high = LIMITS[name]
    assert np.median(every) < median
    assert np.quantile(every, 0.95) < high


@pytest.mark.realdata
def test_aligned_crops_as_plain_photos_come_back_as_they_were(detector, data_folder):
    _, detect = detector
    paths = sorted((data_folder / "celeba-faces").glob("*/*.jpg"))[::2000]
    crops = [read_photo(path) for path in paths]
    found = [faces[0] for faces in detect(crops) if faces]
    assert len(found) == len(crops)
    off = [
        np.linalg.norm(face.landmarks - CARD_POINTS, axis=1).mean() / eyes(CARD_POINTS)
        for face in found
    ]
    assert np.median(off) < 0.12
    assert max(off) < 0.3
    outside = DEFAULT_TEMPLATE.share_outside((112, 96), found)
    assert np.quantile(outside, 0.9) < 0.1
