import cv2
import numpy as np
import pytest

from facever.errors import FileError
from facever.faces.detection import Face, face_at
from facever.faces.framing import draw_faces, side_by_side, write_picture
from facever.faces.photos import read_photo

GREY = 120


def grey(height, width):
    return np.full((height, width, 3), GREY, np.uint8)


def face(left, top, right, bottom, landmarks=None):
    points = np.full((5, 2), np.nan) if landmarks is None else landmarks
    return Face(points, np.array([left, top, right, bottom], np.float64), 0.9)


def changed(drawn):
    return (drawn != GREY).any(axis=2)


def test_a_frame_stands_on_the_edges_of_the_box():
    photo = grey(300, 400)
    mask = changed(draw_faces(photo, [face(100.4, 80, 199.6, 220)], [""]))
    rows, columns = np.nonzero(mask)
    assert abs(rows.min() - 80) <= 3
    assert abs(rows.max() - 220) <= 3
    assert abs(columns.min() - 100) <= 3
    assert abs(columns.max() - 200) <= 3
    assert mask[80:221, 100].all()
    assert mask[220, 100:201].all()
    assert not mask[90:210, 110:190].any()
    assert (photo == GREY).all()


def test_points_stand_on_the_landmarks():
    points = np.array([[120, 110], [180.3, 110], [150, 140], [130, 170], [170, 170]])
    drawn = draw_faces(grey(300, 400), [face(100, 80, 200, 220, points)], [""])
    inside = changed(drawn)[90:210, 110:190].astype(np.uint8)
    num_parts, _, _, centers = cv2.connectedComponentsWithStats(inside)
    assert num_parts == 1 + 5
    found = sorted((centers[1:] + np.array([110, 90])).tolist())
    np.testing.assert_allclose(found, sorted(points.tolist()), atol=0.4)


def plate_of(box, label):
    """The rows and columns that a label covers, and the picture."""
    photo = grey(300, 400)
    drawn = draw_faces(photo, [face(*box)], [label])
    without = draw_faces(photo, [face(*box)], [""])
    rows, columns = np.nonzero((drawn != without).any(axis=2))
    return rows, columns, drawn[rows.min() : rows.max() + 1]


@pytest.mark.parametrize("label", ["1", "12  0.94", "Åsa Ωмир 北京"])
def test_a_label_stands_above_its_frame_with_room_around_it(label):
    rows, columns, drawn = plate_of((100, 100, 150, 160), label)
    assert 95 < rows.max() < 100
    assert columns.min() == 100
    ink = (drawn == 0).all(axis=2)
    assert ink.any()
    assert not ink[0].any()
    assert not ink[:, [columns.min(), columns.max()]].any()


@pytest.mark.parametrize("label", ["1", "12  0.94", "Åsa Ωмир 北京"])
@pytest.mark.parametrize(
    "box", [(-20, -30, 40, 40), (380, 2, 430, 60), (-9, 250, 60, 330)]
)
def test_a_label_at_the_border_is_as_large_as_elsewhere(box, label):
    rows, columns, _ = plate_of(box, label)
    there = np.ptp(rows), np.ptp(columns)
    rows, columns, _ = plate_of((100, 100, 150, 160), label)
    np.testing.assert_allclose(there, (np.ptp(rows), np.ptp(columns)), atol=4)


def test_lines_and_letters_grow_with_the_photo():
    areas = []
    for times in (3, 12):
        box = np.array([50, 50, 100, 120]) * times
        drawn = draw_faces(grey(200 * times, 300 * times), [face(*box)], ["7"])
        areas.append(changed(drawn).mean())
    assert areas[1] == pytest.approx(areas[0], rel=0.4)


def test_a_photo_of_one_pixel():
    tiny = face_at(np.zeros((5, 2)))
    assert draw_faces(grey(1, 1), [tiny], ["1"]).shape == (1, 1, 3)


def test_photos_in_a_row():
    row = side_by_side([grey(100, 80), grey(50, 100), grey(100, 1)])
    # The second is enlarged to 100 x 200; two gaps of two pixels.
    assert row.shape == (100, 80 + 2 + 200 + 2 + 1, 3)
    assert (row[:, 80:82] == 255).all()
    assert (row[:, 82:282] == GREY).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_picture_is_what_was_drawn(tmp_path, suffix):
    picture = grey(60, 90)
    picture[:, :45] = (200, 30, 10)
    path = tmp_path / "new" / f"a{suffix}"
    write_picture(path, picture)
    read = read_photo(path).astype(int)
    assert np.abs(read - picture)[:, [0, 20, 70]].max() < 12
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_picture_that_no_format_holds_is_shrunk(tmp_path):
    write_picture(tmp_path / "a.jpg", grey(3, 70_000))
    assert read_photo(tmp_path / "a.jpg").shape == (1, 4000, 3)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot write"):
        write_picture(tmp_path / "file" / "a.png", grey(5, 5))
