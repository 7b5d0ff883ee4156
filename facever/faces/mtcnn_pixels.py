"""What MTCNN's networks see of a photo: means over areas, from its integral image."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int32, Int64

from facever.faces.mtcnn_boxes import Boxes, Index

_GREY, _CONTRAST = 127.5, 1 / 128  # Grey is zero to the networks.

# An integral image: a row and a column more than the photo.
Sums = Int32[np.ndarray, "_ _ 3"]


def _windows(size: int | np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one pixel of each bin of an area-averaging resize."""
    bins = np.arange(num_bins)
    sizes = np.asarray(size)[..., None]
    return bins * sizes // num_bins, -(-(bins + 1) * sizes // num_bins)


# Photos of one size have the same ones at every level.
_windows_of_level = lru_cache(maxsize=256)(_windows)


def _normalise(
    total: Int32[np.ndarray, "*images rows columns 3"],
    heights: Int64[np.ndarray, "*images rows"],
    widths: Int64[np.ndarray, "*images columns"],
    planes: Float32[np.ndarray, "*images 3 rows columns"],
) -> None:
    """Write the means of pixels as network input.

    Args:
        total: The sums of pixels.
        heights: Rows of pixels in each of them.
        widths: Columns of pixels.
        planes: Where to.
    """
    # In rows of all colours: an inner loop over three would take most of the time.
    *images, columns, colours = total.shape
    mean = total.reshape(*images, columns * colours).astype(np.float32)
    mean /= heights.astype(np.float32)[..., None]
    mean /= np.repeat(widths.astype(np.float32), 3, axis=-1)[..., None, :]
    mean -= np.float32(_GREY)
    pixels = np.moveaxis(mean.reshape(total.shape), -1, -3)
    np.multiply(pixels, np.float32(_CONTRAST), out=planes)


def shrink(sums: Sums, level: Float32[np.ndarray, "3 height width"]) -> None:
    """Write a level of a photo's pyramid, as network input."""
    rows, columns, _ = sums.shape
    _, height, width = level.shape
    top, bottom = _windows_of_level(rows - 1, height)
    left, right = _windows_of_level(columns - 1, width)
    # np.take: about three times as fast as indexing with arrays.
    bands = np.take(sums, bottom, axis=0)
    bands -= np.take(sums, top, axis=0)
    total = np.take(bands, right, axis=1)
    total -= np.take(bands, left, axis=1)
    _normalise(total, bottom - top, right - left, level)


def cut(
    sums: Sequence[Sums], boxes: Boxes, photo_index: Index, size: int
) -> tuple[Boxes, Index, Float32[np.ndarray, "_ 3 {size} {size}"]]:
    """The boxes that reach into their photo, and what they show, as network input.

    Where a box reaches over the border, it shows grey.
    """
    shapes = np.array([own.shape for own in sums])[photo_index]
    # Box corners count from 1 and are inclusive.
    corners = np.floor(boxes[:, :4]).astype(np.int64) - [1, 1, 0, 0]
    bounds = shapes[:, [1, 0]] - 1  # Width and height of the photo.
    reaches = np.minimum(corners[:, 2:], bounds) > np.maximum(corners[:, :2], 0)
    reaches = reaches.all(axis=1)
    boxes, photo_index = boxes[reaches], photo_index[reaches]
    left, top, right, bottom = corners[reaches].T
    columns, rows = shapes[reaches, 1], shapes[reaches, 0]
    first_row, last_row = _windows(bottom - top, size)
    first_column, last_column = _windows(right - left, size)
    heights, widths = last_row - first_row, last_column - first_column
    first_row, last_row = (
        np.clip(edge + top[:, None], 0, rows[:, None] - 1)
        for edge in (first_row, last_row)
    )
    first_column, last_column = (
        np.clip(edge + left[:, None], 0, columns[:, None] - 1)
        for edge in (first_column, last_column)
    )
    upper, lower = first_row * columns[:, None], last_row * columns[:, None]
    crops = np.empty((len(boxes), 3, size, size), np.float32)
    edges = np.searchsorted(photo_index, np.arange(len(sums) + 1))
    for photo, own in enumerate(map(slice, edges[:-1], edges[1:])):
        flat = sums[photo].reshape(-1, 3)
        low, high = lower[own, :, None], upper[own, :, None]
        near, far = first_column[own, None], last_column[own, None]
        total = np.take(flat, low + far, axis=0)
        total -= np.take(flat, low + near, axis=0)
        total -= np.take(flat, high + far, axis=0)
        total += np.take(flat, high + near, axis=0)
        _normalise(total, heights[own], widths[own], crops[own])
    over = (left < 0) | (top < 0) | (right >= columns) | (bottom >= rows)
    shown_rows = (last_row - first_row)[over] / heights[over]
    shown_columns = (last_column - first_column)[over] / widths[over]
    missing = 1 - shown_rows[:, :, None] * shown_columns[:, None]
    crops[over] += (_GREY * _CONTRAST * missing).astype(np.float32)[:, None]
    return boxes, photo_index, crops
