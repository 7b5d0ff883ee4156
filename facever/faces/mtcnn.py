"""The MTCNN cascade, driven for many photos at a time.

The three networks and their weights are facenet-pytorch's; what computes them is chosen
in ``facever.faces.mtcnn_backends``, and torch is imported only if it is chosen. The
steps around them are written anew, to the same numbers: pixel averages come from one
integral image a photo (whole numbers, hence exact), one photo after the other, while it
is in the caches; the networks take pieces of all photos that fit the caches; and
suppression works on one photo at a time, so that a photo's faces do not depend on its
neighbours in the batch. ``mtcnn_pixels`` has what the networks see, ``mtcnn_boxes``
what becomes of boxes between them.

At the photo's border they differ on purpose. A box that reaches over it is padded, as
in the authors' own code, where facenet-pytorch cuts it off and stretches the rest; but
with the grey that is zero to the networks, which moves landmarks less than the authors'
black. Where no face is found, windows that reach over the border are searched, for a
face that fills the photo. What both are worth stands in
``eval/reference/border-faces.json``.

References:
    Zhang et al., Joint face detection and alignment using multi-task cascaded
    convolutional networks, 2016.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from facever.choices import Backend
from facever.faces.detection import Face, area
from facever.faces.mtcnn_backends import Run, settle, start
from facever.faces.mtcnn_boxes import (
    Boxes,
    Index,
    make_square,
    move,
    suppress,
    suppress_inner,
)
from facever.faces.mtcnn_networks import (
    CascadeNetwork,
    output_network,
    proposal_network,
    refining_network,
)
from facever.faces.mtcnn_pixels import Sums, cut, shrink

_CELL = 12  # Side of the proposal network's window, pixels.
_STRIDE = 2
_SMALLEST_FACE = 20
# Shorter side of a level, pixels, whose windows show a face that fills the photo or
# more: its windows are from 0.6 to 2.4 times as large as that side of the photo.
_FILLED_LEVELS = (5, 20.0)
_BEYOND = 6  # Pixels of such a level that windows may reach over the border.
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7
# Pixels of a piece of levels, whose values stay in the caches.
_PROPOSAL_PIXELS = 100_000
# A GPU takes larger pieces of all kinds: its memory is the limit.
_TIMES_ON_GPU = 64
# Pixels of the photos that go through all stages together on a CPU.
_TOGETHER_PIXELS = 1_000_000

_Size = tuple[int, int]


@dataclass(frozen=True)
class CascadeSettings:
    """How MTCNN searches; the defaults are facenet-pytorch's.

    Attributes:
        pyramid_factor: Between the sizes at which a photo is searched, in (0, 1).
        proposal_score: That a window must reach in the first stage, in [0, 1].
        refined_score: In the second.
        output_score: In the third.
    """

    pyramid_factor: float = 0.709
    proposal_score: float = 0.6
    refined_score: float = 0.7
    output_score: float = 0.7


SPHEREFACE = CascadeSettings(pyramid_factor=0.85, output_score=0.9)
"""SphereFace's settings: finer steps between sizes, and surer faces."""


class MtcnnDetector:
    """MTCNN with the networks and weights of facenet-pytorch.

    At the default settings it finds the faces that ``facenet_pytorch.MTCNN.detect``
    finds, in any number of photos of any sizes at a time, from 20 pixels up; those for
    which no box reaches over the border are equal, and at the border landmarks stand
    where they would in a larger photo. Photos of more than ``MAX_DETECTION_PIXELS`` are
    shrunk to that many for the search (and their smallest face is larger accordingly).
    """

    MAX_DETECTION_PIXELS = 4_000_000

    def __init__(
        self,
        settings: CascadeSettings | None = None,
        device: str = "cpu",
        backend: Backend = "auto",
    ) -> None:
        """Load the networks.

        Args:
            settings: How to search; facenet-pytorch's by default.
            device: Where the networks run, by torch's name, or ``auto``.
            backend: What computes them; see ``facever.faces.mtcnn_backends``.

        Raises:
            ParameterError: If there is no such backend or device.
            ModelFileError: If the backend's package is not installed.
        """
        backend, device = settle(backend, device)
        self._cascade = _Cascade(settings or CascadeSettings(), backend, device)
        on_cpu = device == "cpu"
        self._together = _TOGETHER_PIXELS if on_cpu else self.MAX_DETECTION_PIXELS

    def detect(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Face]]:
        """Find the faces in each photo, largest first.

        Args:
            photos: RGB, of any sizes; those of one size are searched together.

        Returns:
            For each photo its faces, perhaps none; landmarks and boxes in its pixels.
        """
        faces: list[list[Face]] = [[] for _ in photos]
        sizes = [self._search_size(photo) for photo in photos]
        for batch in _group(sizes, self._together):
            views = [_resize(photos[index], sizes[index]) for index in batch]
            found = self._cascade.detect(views)
            for index, (boxes, points) in zip(batch, found, strict=True):
                height, width, _ = photos[index].shape
                grow = np.array([width, height]) / sizes[index]
                faces[index] = _make_faces(boxes, points, grow)
        return faces

    def _search_size(self, photo: UInt8[np.ndarray, "height width 3"]) -> _Size:
        """Width and height at which a photo is searched."""
        height, width, _ = photo.shape
        shrink = min(1.0, (self.MAX_DETECTION_PIXELS / (height * width)) ** 0.5)
        return max(1, round(width * shrink)), max(1, round(height * shrink))


class _Cascade:
    """Finds faces in some photos; the networks are a backend's, on a device."""

    def __init__(
        self, settings: CascadeSettings, backend: Backend, device: str
    ) -> None:
        self._settings = settings
        self._times = 1 if device == "cpu" else _TIMES_ON_GPU
        self._proposal, self._refining, self._output = (
            _Stage(network, start(network, backend, device), self._times)
            for network in (proposal_network(), refining_network(), output_network())
        )

    def detect(
        self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    ) -> list[tuple[Float64[np.ndarray, "_ 5"], Float64[np.ndarray, "_ 5 2"]]]:
        """The faces of each photo: box and score in five columns, and landmarks."""
        sums = [cv2.integral(photo, sdepth=cv2.CV_32S) for photo in photos]
        found = self._search(sums, smallest=_CELL)
        empty = [photo for photo, (boxes, _) in enumerate(found) if not len(boxes)]
        if empty:
            smallest, largest = _FILLED_LEVELS
            own = [sums[photo] for photo in empty]
            again = self._search(own, smallest, largest, beyond=_BEYOND)
            for photo, faces in zip(empty, again, strict=True):
                found[photo] = faces
        return found

    def _search(
        self,
        sums: Sequence[Sums],
        smallest: int,
        largest: float = np.inf,
        beyond: int = 0,
    ) -> list[tuple[Float64[np.ndarray, "_ 5"], Float64[np.ndarray, "_ 5 2"]]]:
        """The faces of each photo that windows at some levels lead to.

        Args:
            sums: Integral images.
            smallest: Least shorter side of the levels that are searched, pixels.
            largest: Greatest shorter side.
            beyond: Pixels of a level that windows may reach over the border; even, so
                that those inside stay where they are.
        """
        proposed: list[Boxes] = []
        for shape, members in groupby(sums, key=np.shape):
            shorter = min(shape[:2]) - 1
            scales = [
                scale
                for scale in _scales(shorter, self._settings.pyramid_factor, smallest)
                if shorter * scale <= largest
            ]
            proposed += self._propose(list(members), scales, beyond)
        photo_index = np.repeat(np.arange(len(sums)), [len(own) for own in proposed])
        boxes = np.concatenate(proposed)
        boxes, photo_index = self._refine_boxes(sums, boxes, photo_index)
        boxes, photo_index, points = self._locate(sums, boxes, photo_index)
        return [
            (
                boxes[photo_index == photo].astype(np.float64),
                points[photo_index == photo].astype(np.float64),
            )
            for photo in range(len(sums))
        ]

    def _propose(
        self, sums: Sequence[Sums], scales: Sequence[float], beyond: int
    ) -> list[Boxes]:
        """Stage 1: in each photo windows of every size that may hold a face.

        Args:
            sums: Integral images of photos of one size.
            scales: From a photo to each level.
            beyond: See ``_search``.
        """
        boxes_of: list[list[np.ndarray]] = [[] for _ in sums]
        rows, columns, _ = sums[0].shape
        sizes = [
            (int((rows - 1) * scale + 1), int((columns - 1) * scale + 1))
            for scale in scales
        ]
        pixels = max((high * wide for high, wide in sizes), default=1)
        piece = max(1, self._times * _PROPOSAL_PIXELS // pixels)
        for first in range(0, len(sums), piece):
            part = sums[first : first + piece]
            levels = [
                np.zeros(
                    (len(part), 3, high + 2 * beyond, wide + 2 * beyond), np.float32
                )
                for high, wide in sizes
            ]
            # A photo's levels one after the other, while its sums are in the caches.
            for photo, own in enumerate(part):
                for level, (high, wide) in zip(levels, sizes, strict=True):
                    inside = np.s_[:, beyond : beyond + high, beyond : beyond + wide]
                    shrink(own, level[photo][inside])
            for level, scale in zip(levels, scales, strict=True):
                found, photo_index = self._windows_of(level, scale, beyond)
                for photo, own in enumerate(_split(found, photo_index, len(part))):
                    boxes_of[first + photo].append(own[suppress(own, _LEVEL_OVERLAP)])
        return [_join_levels(levels) for levels in boxes_of]

    def _windows_of(
        self,
        level: Float32[np.ndarray, "photos 3 height width"],
        scale: float,
        beyond: int,
    ) -> tuple[Float32[np.ndarray, "_ 9"], Index]:
        """Windows of a level of several photos: box, score and the box's moves."""
        values = self._proposal.run(level)
        hit = values[:, 0] >= _logit(self._settings.proposal_score)
        photo_index, row, column = np.nonzero(hit)
        numbers = values[photo_index, :, row, column]
        corner = np.stack([column, row], axis=1).astype(np.float32)
        corner = corner * _STRIDE - beyond
        found = np.concatenate(
            [
                np.floor((corner + 1) / np.float32(scale)),
                np.floor((corner + _CELL) / np.float32(scale)),
                _probability(numbers[:, :1]),
                numbers[:, 1:],
            ],
            axis=1,
        )
        return found, photo_index

    def _refine_boxes(
        self, sums: Sequence[Sums], boxes: Boxes, photo_index: Index
    ) -> tuple[Boxes, Index]:
        """Stage 2: fewer and better boxes."""
        boxes, photo_index, crops = cut(sums, boxes, photo_index, 24)
        if not len(boxes):
            return boxes, photo_index
        values = self._refining.run_in_pieces(crops)
        kept = values[:, 0] > _logit(self._settings.refined_score)
        boxes, photo_index, values = boxes[kept], photo_index[kept], values[kept]
        boxes[:, 4] = _probability(values[:, 0])
        picks = [
            own[suppress(boxes[own], _OVERLAP)]
            for own in _split(np.arange(len(boxes)), photo_index, len(sums))
        ]
        pick = np.concatenate(picks)
        return make_square(move(boxes[pick], values[pick, 1:])), photo_index[pick]

    def _locate(
        self, sums: Sequence[Sums], boxes: Boxes, photo_index: Index
    ) -> tuple[Boxes, Index, Float32[np.ndarray, "_ 5 2"]]:
        """Stage 3: the faces and their landmarks."""
        boxes, photo_index, crops = cut(sums, boxes, photo_index, 48)
        if not len(boxes):
            return boxes, photo_index, np.empty((0, 5, 2), np.float32)
        values = self._output.run_in_pieces(crops)
        kept = values[:, 0] > _logit(self._settings.output_score)
        boxes, photo_index, values = boxes[kept], photo_index[kept], values[kept]
        boxes[:, 4] = _probability(values[:, 0])
        sizes = boxes[:, 2:4] - boxes[:, :2] + 1
        # Ten numbers: five x, then five y, as fractions of the box.
        places = values[:, 5:].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = sizes[:, None] * places + boxes[:, None, :2] - 1
        boxes = move(boxes, values[:, 1:5])
        picks = [
            own[suppress_inner(boxes[own], _OVERLAP)]
            for own in _split(np.arange(len(boxes)), photo_index, len(sums))
        ]
        pick = np.concatenate(picks)
        return boxes[pick], photo_index[pick], points[pick]


class _Stage:
    """A network that is ready to run."""

    def __init__(self, network: CascadeNetwork, run: Run, times: int) -> None:
        self.run = run
        self._piece = times * (network.batch or 1)

    def run_in_pieces(
        self, crops: Float32[np.ndarray, "crops 3 side side"]
    ) -> Float32[np.ndarray, "crops numbers"]:
        """The network's numbers for any number of crops, at least 1."""
        firsts = range(0, len(crops), self._piece)
        pieces = [self.run(crops[first : first + self._piece]) for first in firsts]
        return np.concatenate(pieces)


def _group(sizes: Sequence[_Size], most_pixels: int) -> Iterator[list[int]]:
    """Indices of photos that go through all stages together, by size."""
    batch: list[int] = []
    num_pixels = 0
    for index in sorted(range(len(sizes)), key=sizes.__getitem__):
        own = sizes[index][0] * sizes[index][1]
        if batch and num_pixels + own > most_pixels:
            yield batch
            batch, num_pixels = [], 0
        batch.append(index)
        num_pixels += own
    if batch:
        yield batch


def _logit(probability: float) -> np.float32:
    """The number of which the logistic function is this probability."""
    return np.float32(np.log(probability / (1 - probability)))


def _probability(
    logits: Float32[np.ndarray, "*windows"],
) -> Float32[np.ndarray, "*windows"]:
    """The logistic function, of numbers that reached a limit: none overflows."""
    probability: np.ndarray = 1 / (1 + np.exp(-logits))
    return probability


def _join_levels(levels: Sequence[Float32[np.ndarray, "_ 9"]]) -> Boxes:
    """Squares around the faces that a photo's windows show: few for each face."""
    found = np.concatenate(levels) if levels else np.empty((0, 9), np.float32)
    found = found[suppress(found, _OVERLAP)]
    sizes = found[:, [2, 3, 2, 3]] - found[:, [0, 1, 0, 1]]
    moved = found[:, :4] + found[:, 5:] * sizes
    return make_square(np.concatenate([moved, found[:, 4:5]], axis=1))


def _resize(
    photo: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    resized: np.ndarray = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return resized


def _make_faces(
    boxes: Float64[np.ndarray, "faces 5"],
    points: Float64[np.ndarray, "faces 5 2"],
    grow: Float64[np.ndarray, "2"],
) -> list[Face]:
    """Faces in the pixels of a photo that was shrunk for the search, largest first."""
    # Pixel centres are whole numbers: the picture starts at -0.5.
    points = (points + 0.5) * grow - 0.5
    corners = (boxes[:, :4].reshape(-1, 2, 2) + 0.5) * grow - 0.5
    faces = [
        Face(landmarks, box.ravel(), float(score))
        for landmarks, box, score in zip(points, corners, boxes[:, 4], strict=True)
        if np.isfinite(landmarks).all() and np.isfinite(box).all()
    ]
    return sorted(faces, key=area, reverse=True)


def _scales(shorter: int, factor: float, smallest: int) -> list[float]:
    """From a photo's shorter side to those of its levels, down to the smallest."""
    scale = _CELL / _SMALLEST_FACE
    shorter_now = shorter * scale
    scales = []
    while shorter_now >= smallest:
        scales.append(scale)
        scale *= factor
        shorter_now *= factor
    return scales


def _split(values: np.ndarray, photo_index: Index, num_photos: int) -> list[np.ndarray]:
    """The values of each photo; those of one photo stand together."""
    return np.split(values, np.searchsorted(photo_index, np.arange(1, num_photos)))
