"""The MTCNN cascade, driven for many photos at a time.

The three networks and their weights are facenet-pytorch's. The steps around them are
written anew, to the same numbers: pixel averages come from one integral image a photo
(whole numbers, hence exact), the networks run channels-last over pieces that fit the
caches, and suppression works on one photo at a time, so that a photo's faces do not
depend on its neighbours in the batch. Importing this module imports torch.

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

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from torch import nn

from facever.faces.detection import Face, area
from facever.faces.mtcnn_networks import (
    output_network,
    proposal_network,
    refining_network,
)

_CELL = 12  # Side of the proposal network's window, pixels.
_STRIDE = 2
_SMALLEST_FACE = 20
_GREY, _CONTRAST = 127.5, 1 / 128  # Grey is zero to the networks.
# Shorter side of a level, pixels, whose windows show a face that fills the photo or
# more: its windows are from 0.6 to 2.4 times as large as that side of the photo.
_FILLED_LEVELS = (5, 20)
_BEYOND = 6  # Pixels of such a level that windows may reach over the border.
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7
# Pieces whose activations stay in the caches: about twice as fast as whole batches.
_PROPOSAL_PIXELS, _REFINE_PIECE, _OUTPUT_PIECE = 100_000, 128, 16
# A GPU takes larger ones: its memory is the limit.
_TIMES_ON_GPU = 64

# Boxes whose overlaps with all that are left are computed at a time.
_SUPPRESSING = 64

# Their number changes within a function, so it has no name here.
Boxes = Float32[np.ndarray, "_ 5"]
Index = Int64[np.ndarray, " _"]


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
        self, settings: CascadeSettings | None = None, device: str = "cpu"
    ) -> None:
        """Load the networks.

        Args:
            settings: How to search; facenet-pytorch's by default.
            device: Where the networks run, by torch's name.
        """
        self._cascade = _Cascade(settings or CascadeSettings(), device)

    def detect(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Face]]:
        """Find the faces in each photo, largest first.

        Args:
            photos: RGB, of any sizes; those of one size are searched together.

        Returns:
            For each photo its faces, perhaps none; landmarks and boxes in its pixels.
        """
        faces: list[list[Face]] = [[] for _ in photos]
        same_size: dict[tuple[int, ...], list[int]] = {}
        for index, photo in enumerate(photos):
            same_size.setdefault(photo.shape, []).append(index)
        for (height, width, _), members in same_size.items():
            shrink = min(1.0, (self.MAX_DETECTION_PIXELS / (height * width)) ** 0.5)
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            step = max(1, self.MAX_DETECTION_PIXELS // (size[0] * size[1]))
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                views = [_resize(photos[index], size) for index in batch]
                found = self._cascade.detect(views)
                grow = np.array([width / size[0], height / size[1]])
                for index, (boxes, points) in zip(batch, found, strict=True):
                    faces[index] = _make_faces(boxes, points, grow)
        return faces


class _Cascade:
    """Finds faces in photos of one size; the networks run on a device of torch's."""

    def __init__(self, settings: CascadeSettings, device: str) -> None:
        self._settings = settings
        self._device = torch.device(device)
        self._proposal = self._prepare(proposal_network())
        self._refine = self._prepare(refining_network())
        self._output = self._prepare(output_network())

    @torch.inference_mode()
    def detect(
        self, photos: Sequence[UInt8[np.ndarray, "height width 3"]]
    ) -> list[tuple[Float64[np.ndarray, "faces 5"], Float64[np.ndarray, "faces 5 2"]]]:
        """The faces of each photo: box and score in five columns, and landmarks."""
        sums = np.stack([cv2.integral(photo, sdepth=cv2.CV_32S) for photo in photos])
        shorter = min(photos[0].shape[:2])
        factor = self._settings.pyramid_factor
        found = self._search(sums, _scales(shorter, factor, _CELL), beyond=0)
        empty = [photo for photo, (boxes, _) in enumerate(found) if not len(boxes)]
        if empty:
            smallest, largest = _FILLED_LEVELS
            scales = [
                scale
                for scale in _scales(shorter, factor, smallest)
                if shorter * scale <= largest
            ]
            again = self._search(sums[empty], scales, beyond=_BEYOND)
            for photo, faces in zip(empty, again, strict=True):
                found[photo] = faces
        return found

    def _search(
        self,
        sums: Int32[np.ndarray, "photos rows columns 3"],
        scales: Sequence[float],
        beyond: int,
    ) -> list[tuple[Float64[np.ndarray, "faces 5"], Float64[np.ndarray, "faces 5 2"]]]:
        """The faces of each photo that windows at these scales lead to.

        Args:
            sums: Integral images.
            scales: The scales of the levels of the pyramid.
            beyond: Pixels of a level that windows may reach over the border; even, so
                that those inside stay where they are.
        """
        boxes, photo_index = self._propose(sums, scales, beyond)
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
        self,
        sums: Int32[np.ndarray, "photos rows columns 3"],
        scales: Sequence[float],
        beyond: int,
    ) -> tuple[Boxes, Index]:
        """Stage 1: windows of every size that may hold a face."""
        num_photos = len(sums)
        boxes_of: list[list[np.ndarray]] = [[] for _ in range(num_photos)]
        for scale in scales:
            level = _shrink(sums, scale)
            if beyond:
                frame = (beyond, beyond)
                level = np.pad(level, ((0, 0), frame, frame, (0, 0)))
            piece = max(1, _PROPOSAL_PIXELS // (level.shape[1] * level.shape[2]))
            scores, moves = self._run(self._proposal, level, piece)
            scores = scores[:, 1]
            hit = scores >= self._settings.proposal_score
            photo_index, row, column = np.nonzero(hit)
            corner = np.stack([column, row], axis=1).astype(np.float32)
            corner = corner * _STRIDE - beyond
            found = np.concatenate(
                [
                    np.floor((corner + 1) / np.float32(scale)),
                    np.floor((corner + _CELL) / np.float32(scale)),
                    scores[hit][:, None],
                    moves.transpose(0, 2, 3, 1)[hit],
                ],
                axis=1,
            )
            for photo, own in enumerate(_split(found, photo_index, num_photos)):
                boxes_of[photo].append(own[_suppress(own, _LEVEL_OVERLAP)])
        kept = []
        for levels in boxes_of:
            own = np.concatenate(levels) if levels else np.empty((0, 9), np.float32)
            kept.append(own[_suppress(own, _OVERLAP)])
        photo_index = np.repeat(np.arange(num_photos), [len(own) for own in kept])
        found = np.concatenate(kept)
        sizes = found[:, [2, 3, 2, 3]] - found[:, [0, 1, 0, 1]]
        moved = found[:, :4] + found[:, 5:] * sizes
        boxes = np.concatenate([moved, found[:, 4:5]], axis=1)
        return _make_square(boxes), photo_index

    def _refine_boxes(
        self,
        sums: Int32[np.ndarray, "photos rows columns 3"],
        boxes: Boxes,
        photo_index: Index,
    ) -> tuple[Boxes, Index]:
        """Stage 2: fewer and better boxes."""
        boxes, photo_index, crops = _cut(sums, boxes, photo_index, 24)
        if not len(boxes):
            return boxes, photo_index
        scores, moves = self._run(self._refine, crops, _REFINE_PIECE)
        boxes, kept = _rescore(boxes, scores[:, 1], self._settings.refined_score)
        photo_index, moves = photo_index[kept], moves[kept]
        picks = [
            own[_suppress(boxes[own], _OVERLAP)]
            for own in _split(np.arange(len(boxes)), photo_index, len(sums))
        ]
        pick = np.concatenate(picks)
        return _make_square(_move(boxes[pick], moves[pick])), photo_index[pick]

    def _locate(
        self,
        sums: Int32[np.ndarray, "photos rows columns 3"],
        boxes: Boxes,
        photo_index: Index,
    ) -> tuple[Boxes, Index, Float32[np.ndarray, "_ 5 2"]]:
        """Stage 3: the faces and their landmarks."""
        boxes, photo_index, crops = _cut(sums, boxes, photo_index, 48)
        if not len(boxes):
            return boxes, photo_index, np.empty((0, 5, 2), np.float32)
        scores, moves, places = self._run(self._output, crops, _OUTPUT_PIECE)
        boxes, kept = _rescore(boxes, scores[:, 1], self._settings.output_score)
        photo_index, moves, places = photo_index[kept], moves[kept], places[kept]
        sizes = boxes[:, 2:4] - boxes[:, :2] + 1
        # Ten numbers: five x, then five y, as fractions of the box.
        places = places.reshape(-1, 2, 5).transpose(0, 2, 1)
        points = sizes[:, None] * places + boxes[:, None, :2] - 1
        boxes = _move(boxes, moves)
        picks = [
            own[_suppress_inner(boxes[own], _OVERLAP)]
            for own in _split(np.arange(len(boxes)), photo_index, len(sums))
        ]
        pick = np.concatenate(picks)
        return boxes[pick], photo_index[pick], points[pick]

    def _prepare(self, network: nn.Module) -> nn.Module:
        return network.eval().to(self._device).to(memory_format=torch.channels_last)

    def _run(
        self,
        network: nn.Module,
        images: Float32[np.ndarray, "images height width 3"],
        piece: int,
    ) -> list[np.ndarray]:
        """The network's outputs over all images, a piece at a time."""
        if self._device.type != "cpu":
            piece *= _TIMES_ON_GPU
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        # TF32 would move landmarks by a hundredth of a pixel.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            pieces = [
                [output.cpu() for output in network(part.to(self._device))]
                for part in torch.split(batch, piece)
            ]
        return [torch.cat(parts).numpy() for parts in zip(*pieces, strict=True)]


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


def _windows(size: int | np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one pixel of each bin of an area-averaging resize."""
    bins = np.arange(num_bins)
    sizes = np.asarray(size)[..., None]
    return bins * sizes // num_bins, -(-(bins + 1) * sizes // num_bins)


def _normalise(
    total: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> Float32[np.ndarray, "images height width 3"]:
    mean = total.astype(np.float32)
    mean /= heights.astype(np.float32)
    mean /= widths.astype(np.float32)
    mean -= np.float32(_GREY)
    mean *= np.float32(_CONTRAST)
    return mean


def _shrink(
    sums: Int32[np.ndarray, "photos rows columns 3"], scale: float
) -> Float32[np.ndarray, "photos height width 3"]:
    """A level of the pyramid, as network input."""
    height, width = sums.shape[1] - 1, sums.shape[2] - 1
    top, bottom = _windows(height, int(height * scale + 1))
    left, right = _windows(width, int(width * scale + 1))
    bands = sums[:, bottom] - sums[:, top]
    # np.take: about three times as fast as indexing with arrays.
    total = np.take(bands, right, axis=2) - np.take(bands, left, axis=2)
    return _normalise(total, (bottom - top)[:, None, None], (right - left)[:, None])


def _cut(
    sums: Int32[np.ndarray, "photos rows columns 3"],
    boxes: Boxes,
    photo_index: Index,
    size: int,
) -> tuple[Boxes, Index, Float32[np.ndarray, "_ {size} {size} 3"]]:
    """The boxes that reach into their photo, and what they show, as network input.

    Where a box reaches over the border, it shows grey.
    """
    _, rows, columns, _ = sums.shape
    # Box corners count from 1 and are inclusive.
    corners = np.floor(boxes[:, :4]).astype(np.int64)
    left, top, right, bottom = (corners - [1, 1, 0, 0]).T
    reaches = np.minimum(right, columns - 1) > np.maximum(left, 0)
    reaches &= np.minimum(bottom, rows - 1) > np.maximum(top, 0)
    left, top, right, bottom = (edge[reaches] for edge in (left, top, right, bottom))
    boxes, photo_index = boxes[reaches], photo_index[reaches]
    first_row, last_row = _windows(bottom - top, size)
    first_column, last_column = _windows(right - left, size)
    heights = (last_row - first_row)[:, :, None, None]
    widths = (last_column - first_column)[:, None, :, None]
    first_row, last_row = (
        np.clip(edge + top[:, None], 0, rows - 1)[:, :, None]
        for edge in (first_row, last_row)
    )
    first_column, last_column = (
        np.clip(edge + left[:, None], 0, columns - 1)[:, None, :]
        for edge in (first_column, last_column)
    )
    base = (photo_index * rows)[:, None, None]
    upper, lower = (base + first_row) * columns, (base + last_row) * columns
    flat = sums.reshape(-1, 3)
    total = np.take(flat, lower + last_column, axis=0)
    total -= np.take(flat, lower + first_column, axis=0)
    total -= np.take(flat, upper + last_column, axis=0)
    total += np.take(flat, upper + first_column, axis=0)
    crops = _normalise(total, heights, widths)
    over = (left < 0) | (top < 0) | (right >= columns) | (bottom >= rows)
    shown = (last_row - first_row)[over] * (last_column - first_column)[over]
    missing = 1 - shown[..., None] / (heights[over] * widths[over])
    crops[over] += (_GREY * _CONTRAST * missing).astype(np.float32)
    return boxes, photo_index, crops


def _rescore(
    boxes: Boxes, scores: Float32[np.ndarray, " _"], limit: float
) -> tuple[Boxes, np.ndarray]:
    kept = scores > limit
    return np.concatenate([boxes[kept, :4], scores[kept, None]], axis=1), kept


def _move(boxes: Boxes, moves: Float32[np.ndarray, "_ 4"]) -> Boxes:
    sizes = boxes[:, [2, 3, 2, 3]] - boxes[:, [0, 1, 0, 1]] + 1
    return np.concatenate([boxes[:, :4] + moves * sizes, boxes[:, 4:]], axis=1)


def _make_square(boxes: Boxes) -> Boxes:
    sizes = boxes[:, 2:4] - boxes[:, :2]
    side = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side, boxes[:, 4:]], axis=1)


def _split(values: np.ndarray, photo_index: Index, num_photos: int) -> list[np.ndarray]:
    """The values of each photo; those of one photo stand together."""
    return np.split(values, np.searchsorted(photo_index, np.arange(1, num_photos)))


def _suppress(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes that no better one overlaps, best first."""
    order = np.argsort(-boxes[:, 4], kind="stable")
    left, top, right, bottom = boxes[order, :4].T.copy()
    areas = (right - left) * (bottom - top)
    rest = np.arange(len(order))
    kept = []
    while len(rest):
        first = rest[:_SUPPRESSING, None]
        shared = np.minimum(right[first], right[rest])
        shared -= np.maximum(left[first], left[rest])
        high = np.minimum(bottom[first], bottom[rest])
        high -= np.maximum(top[first], top[rest])
        shared = np.maximum(shared, 0) * np.maximum(high, 0)
        apart = ~(shared > overlap * (areas[first] + areas[rest] - shared))
        stays = np.ones(len(rest), dtype=bool)
        for place in range(len(first)):
            if stays[place]:
                kept.append(rest[place])
                stays &= apart[place]
        rest = rest[len(first) :][stays[len(first) :]]
    return order[np.array(kept, dtype=np.int64)]


def _suppress_inner(boxes: Boxes, overlap: float) -> np.ndarray:
    """As ``_suppress``, with the shared area as a part of the smaller box."""
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2] + 1, axis=1)
    order = np.argsort(boxes[:, 4])
    kept = []
    while len(order):
        best, order = order[-1], order[:-1]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:4], boxes[order, 2:4])
        shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
        order = order[shared / np.minimum(areas[best], areas[order]) <= overlap]
    return np.array(kept, dtype=np.int64)
