"""What becomes of MTCNN's boxes between its networks."""

import numpy as np
from jaxtyping import Float32, Int64

# Boxes whose overlaps with all that are left are computed at a time.
_SUPPRESSING = 64

# Left, top, right, bottom and score. Their number changes within a function, so it has
# no name here.
Boxes = Float32[np.ndarray, "_ 5"]
Index = Int64[np.ndarray, " _"]


def move(boxes: Boxes, moves: Float32[np.ndarray, "_ 4"]) -> Boxes:
    """The boxes after a network's moves of their corners, as parts of their sides."""
    sizes = boxes[:, [2, 3, 2, 3]] - boxes[:, [0, 1, 0, 1]] + 1
    return np.concatenate([boxes[:, :4] + moves * sizes, boxes[:, 4:]], axis=1)


def make_square(boxes: Boxes) -> Boxes:
    """Squares with the same middles, as large as the longer sides."""
    sizes = boxes[:, 2:4] - boxes[:, :2]
    side = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side, boxes[:, 4:]], axis=1)


def suppress(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes that no better one overlaps, best first.

    Args:
        boxes: Left, top, right, bottom and score, and any columns after these.
        overlap: The shared area as a part of both areas' union, in [0, 1], up to which
            boxes stay beside each other.
    """
    if len(boxes) < 2:  # As in most levels.
        return np.arange(len(boxes))
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


def suppress_inner(boxes: Boxes, overlap: float) -> np.ndarray:
    """As ``suppress``, with the shared area as a part of the smaller box."""
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
