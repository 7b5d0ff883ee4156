"""Lists of photos as text and as CSV, in all their forms."""

import csv
import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.sources.any_source import find_photos
from facever.faces.templates import CARD_POINTS

NAMES = st.lists(
    st.tuples(
        st.sampled_from(["Ann/", "Bo Lee/holiday/", "Zoë/", ""]),
        st.sampled_from(["", "Ann", "王 Li", "../up", "c,d", 'q"uote']),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
ENDS = st.sampled_from(["\n", "\r\n"])
MARKS = st.sampled_from(["", "\ufeff"])


def name_of(folder: str, number: int) -> str:
    return f"{folder}{number}.jpg"


@given(names=NAMES, end=ENDS, mark=MARKS, order=st.randoms(use_true_random=False))
def test_text_lists(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[tuple[str, str, bool]],
    end: str,
    mark: str,
    order: random.Random,
) -> None:
    lines, expected = [], []
    for number, (folder, person, has_dot) in enumerate(names):
        lines += order.choices(["", "# a note", "  "], k=order.randrange(2))
        name = name_of(folder, number)
        lines.append(f"{'./' * has_dot}{name}" + f"\t{person}" * bool(person))
        expected.append((name, person or folder.split("/")[0] or str(number)))
    path = tmp_path_factory.mktemp("lists") / "photos.txt"
    path.write_bytes((mark + end.join(lines)).encode())
    photos = find_photos(path).photos
    assert [(photo.source, photo.identity) for photo in photos] == expected
    assert [photo.path for photo in photos] == [path.parent / n for n, _ in expected]


@given(
    names=NAMES,
    end=ENDS,
    mark=MARKS,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    has_points=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_csv_lists(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[tuple[str, str, bool]],
    end: str,
    mark: str,
    quoting: int,
    has_points: bool,
    order: random.Random,
) -> None:
    columns = ["source", "identity", "note"]
    if has_points:
        columns += [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]
    order.shuffle(columns)
    rows, expected = [], []
    for number, (folder, person, is_known) in enumerate(names):
        name, person = name_of(folder, number), person or "nobody"
        row = {"source": name, "identity": person, "note": "x,y"}
        points = CARD_POINTS + number
        if is_known:
            for point, (x, y) in enumerate(points, start=1):
                row |= {f"x{point}": repr(float(x)), f"y{point}": repr(float(y))}
        rows.append([row.get(column, "") for column in columns])
        expected.append((name, person, points if is_known and has_points else None))
    file = io.StringIO()
    writer = csv.writer(file, quoting=quoting, lineterminator=end)
    writer.writerows([columns, *rows])
    path = tmp_path_factory.mktemp("lists") / "photos.csv"
    path.write_bytes((mark + file.getvalue()).encode())
    listing = find_photos(path)
    for photo, (name, person, points) in zip(listing.photos, expected, strict=True):
        assert (photo.source, photo.identity) == (name, person)
        assert (photo.landmarks is None) == (points is None)
        if points is not None:
            np.testing.assert_array_equal(photo.landmarks, points)
    assert listing.has_landmarks == has_points
