"""The steps around the networks against torch's and facenet-pytorch's own."""

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy, rerec
from torch.nn.functional import interpolate, pad
from torchvision.ops import nms

from facever.faces.mtcnn import _scales
from facever.faces.mtcnn_boxes import make_square, suppress, suppress_inner
from facever.faces.mtcnn_pixels import cut, shrink


def make_photos(num_photos, height, width, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num_photos, height, width, 3)
    photos = rng.integers(0, 256, shape, dtype=np.uint8)
    sums = [cv2.integral(photo, sdepth=cv2.CV_32S) for photo in photos]
    planes = torch.from_numpy(photos).permute(0, 3, 1, 2).float()
    return planes, sums


def as_network_input(planes):
    return ((planes - 127.5) * 0.0078125).numpy()


@pytest.mark.parametrize(("height", "width"), [(50, 50), (61, 97), (250, 31)])
def test_pyramid_levels_equal_torchs_area_resize_exactly(height, width):
    planes, sums = make_photos(2, height, width)
    scales = _scales(min(height, width), 0.709, 12)
    assert scales[0] == 0.6
    assert min(height, width) * scales[-1] >= 12
    for scale in scales:
        size = (int(height * scale + 1), int(width * scale + 1))
        expected = as_network_input(interpolate(planes, size, mode="area"))
        levels = np.full_like(expected, np.nan)
        for own, level in zip(sums, levels, strict=True):
            shrink(own, level)
        np.testing.assert_array_equal(levels, expected)


def test_scales_of_a_photo_too_small_for_a_face():
    assert _scales(19, 0.709, 12) == []
    assert len(_scales(20, 0.709, 12)) == 1


def test_boxes_show_what_cutting_and_resizing_one_by_one_shows():
    planes, sums = make_photos(3, 80, 90)
    border = 100
    bordered = pad(planes, [border] * 4, value=127.5)
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 85, (60, 2))
    sides = rng.uniform(1, 60, (60, 1))
    boxes = np.concatenate([corners, corners + sides, rng.random((60, 1))], axis=1)
    boxes = boxes.astype(np.float32)
    boxes[7, :4] = [200, 10, 230, 40]  # Wholly outside.
    boxes[8, :4] = [-50, -50, -10, -10]
    photo_index = np.sort(rng.integers(0, 3, 60))
    kept, kept_index, crops = cut(sums, boxes, photo_index, 24)
    expected, expected_boxes, lie_inside = [], [], []
    for k, corner in enumerate(np.floor(boxes[:, :4]).astype(int)):
        # Counted from 1, the last included.
        left, top, right, bottom = corner - [1, 1, 0, 0]
        if left < 90 and top < 80 and right > 0 and bottom > 0:
            rows = slice(border + top, border + bottom)
            part = bordered[photo_index[k], :, rows, border + left : border + right]
            expected.append(interpolate(part[None], (24, 24), mode="area"))
            expected_boxes.append(k)
            lie_inside.append(left >= 0 and top >= 0 and right <= 90 and bottom <= 80)
    assert 2 <= 60 - len(expected) < 20
    assert 10 < sum(lie_inside) < len(expected) - 10
    expected = as_network_input(torch.cat(expected))
    np.testing.assert_array_equal(kept, boxes[expected_boxes])
    np.testing.assert_array_equal(kept_index, photo_index[expected_boxes])
    np.testing.assert_array_equal(crops[lie_inside], expected[lie_inside])
    np.testing.assert_allclose(crops, expected, rtol=0, atol=1e-6)


def test_boxes_of_photos_of_several_sizes_show_what_they_show_alone():
    shapes = [(80, 90), (30, 200), (40, 40), (64, 51)]
    sums = [make_photos(1, *shape, seed=k)[1][0] for k, shape in enumerate(shapes)]
    boxes = random_boxes(40, seed=2)
    photo_index = np.sort(np.random.default_rng(0).choice([0, 1, 3], 40))
    kept, kept_index, crops = cut(sums, boxes, photo_index, 24)
    assert 0 < len(kept) < 40
    alone = [
        cut(
            [sums[photo]],
            boxes[photo_index == photo],
            (photo_index * 0)[photo_index == photo],
            24,
        )
        for photo in range(4)
    ]
    assert not len(alone[2][0])
    for together, parts in zip(
        (kept, crops),
        ([each[0] for each in alone], [each[2] for each in alone]),
        strict=True,
    ):
        np.testing.assert_array_equal(together, np.concatenate(parts))
    assert np.bincount(kept_index, minlength=4).tolist() == [
        len(each[0]) for each in alone
    ]


def test_boxes_of_no_photo_at_all():
    _, sums = make_photos(2, 40, 40)
    none = np.empty((0, 5), np.float32)
    boxes, index, crops = cut(sums, none, np.empty(0, np.int64), 24)
    assert len(boxes) == len(index) == len(crops) == 0


def random_boxes(num_boxes, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (num_boxes, 2))
    sizes = rng.uniform(5, 60, (num_boxes, 2))
    boxes = np.concatenate([corners, corners + sizes, rng.random((num_boxes, 1))], 1)
    return boxes.astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
def test_suppression_by_the_smaller_box(seed):
    boxes = random_boxes(1 + seed, seed)
    expected = nms_numpy(boxes[:, :4], boxes[:, 4], 0.7, "Min")
    np.testing.assert_array_equal(suppress_inner(boxes, 0.7), expected)


def test_squares():
    boxes = random_boxes(30, 0)
    expected = rerec(torch.from_numpy(boxes.copy())).numpy()
    np.testing.assert_allclose(make_square(boxes), expected, rtol=1e-6)


@pytest.mark.parametrize("num_boxes", [0, 1, 7, 200, 700])
@pytest.mark.parametrize("overlap", [0.5, 0.7])
def test_suppression_is_torchvisions(num_boxes, overlap):
    boxes = random_boxes(num_boxes, seed=num_boxes)
    # Equal scores come in the order of the boxes; some boxes are empty.
    boxes[:, 4] = boxes[:, 4].round(1)
    boxes[::9, 2:4] = boxes[::9, :2]
    corners, scores = torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 4])
    expected = nms(corners, scores, overlap).numpy()
    np.testing.assert_array_equal(suppress(boxes, overlap), expected)
    assert num_boxes < 200 or len(expected) < num_boxes
