import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.sources.landmark_file import match_landmarks, read_landmarks
from facever.errors import DataError, FileError
from facever.faces.templates import CARD_POINTS

FACE = "30 52 66 51 48 72 34 92 63 93"
PREFIXES = ["", "./", ".\\", "/data/faces/", "faces\\"]


def faces(num_faces, seed=0):
    """Turned, scaled and shifted, with the grain of a detector; whole pixels."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_faces):
        angle, scale = rng.uniform(-0.4, 0.4), rng.uniform(2, 4)
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        points = (CARD_POINTS + rng.normal(0, 2, (5, 2))) * scale
        found.append(points @ turn.T + rng.uniform(0, 200, 2))
    return np.rint(found)


def read(tmp_path, text):
    path = tmp_path / "landmarks.txt"
    path.write_text(text)
    return read_landmarks(path)


@given(data=st.data(), seed=st.integers(0, 99), num_faces=st.integers(1, 12))
def test_every_form_of_a_list_gives_the_points(tmp_path_factory, data, seed, num_faces):
    points = faces(num_faces, seed)
    rng = np.random.default_rng(seed)
    separator = data.draw(st.sampled_from(["\t", ",", ", ", " ", "   ", ";", "\t "]))
    is_apart = data.draw(st.booleans())
    before, after = (
        data.draw(st.sampled_from([0, 1, 4, 5])),
        data.draw(st.integers(0, 1)),
    )
    head = data.draw(
        st.sampled_from(
            ["", f"{num_faces}\nlefteye_x lefteye_y nose\n", "photo,x1,y1\n"]
        )
    )
    flag = "0\t" if separator == "\t" and data.draw(st.booleans()) else ""
    names = [f"Ann Lee/{n}.jpg" for n in range(num_faces)]
    lines = []
    for name, face in zip(names, points, strict=True):
        numbers = face.T.ravel() if is_apart else face.ravel()
        box = [*rng.integers(0, 400, before), *numbers, *rng.random(after).round(3)]
        lines.append(flag + separator.join([name, *map(str, box)]))
    end = data.draw(st.sampled_from(["\n", "\r\n", " \n\n"]))
    folder = tmp_path_factory.mktemp("lists")
    found = read(folder, head + end.join(lines))
    assert list(found.points) == names
    np.testing.assert_array_equal(list(found.points.values()), points)
    assert any("numbers" in note for note in found.notes) == (before + after > 0)
    assert any("five times x" in note for note in found.notes) == is_apart


def test_a_name_may_look_like_a_number(tmp_path):
    assert list(read(tmp_path, f"000001 {FACE}\n000002 {FACE}").points) == [
        "000001",
        "000002",
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a.jpg" + "\t1" * 9, "got 9 numbers"),
        ("a.jpg" + "\t1" * 11, "expected 10 numbers, as in the lines before, got 11"),
        ("a.jpg" + "\t1" * 136, "got 136 numbers"),
        ("a.jpg" + "\t1" * 9 + "\tx", "got 0 numbers"),
        ("ok.jpg" + "\t1" * 10, "listed twice"),
    ],
)
def test_wrong_lines_are_refused_by_number(tmp_path, line, why):
    with pytest.raises(DataError, match=f"line 2.*{why}"):
        read(tmp_path, "ok.jpg" + "\t1" * 10 + "\n" + line + "\n")


def test_faces_that_were_not_found_are_left_out(tmp_path):
    lines = [f"0.jpg {FACE}", "1.jpg" + " nan" * 10, "2.jpg" + " -inf" * 10]
    found = read(tmp_path, "\n".join([*lines, f"3.jpg {FACE}"]))
    assert list(found.points) == ["0.jpg", "3.jpg"]
    [note] = found.notes
    assert note.startswith("2 lines of the list of landmarks have numbers that are not")
    assert "such as line 2," in note
    with pytest.raises(FileError, match="no line has a photo and 10 finite numbers"):
        read(tmp_path, "\n".join(lines[1:]))
    with pytest.raises(DataError, match=r"line 4: 1\.jpg is listed twice"):
        read(tmp_path, "\n".join([*lines, f"1.jpg {FACE}"]))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileError, match="no landmark file at"):
        read_landmarks(tmp_path / "missing.txt")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(FileError, match="not UTF-8"):
        read_landmarks(tmp_path / "bytes")
    with pytest.raises(FileError, match="no line has a photo and 10 finite numbers"):
        read(tmp_path, "photo,x1,y1\n")


@given(data=st.data())
def test_names_are_matched_by_what_they_have_in_common(data):
    people = ["Ann", "Bo Lee", "C.D."]
    photos = [f"{who}/{who} {n}.jpg" for who in people for n in (1, 2)]
    wanted = data.draw(st.permutations(photos))
    form = data.draw(st.sampled_from(["prefix", "folder", "suffix", "other", "slash"]))
    prefix = data.draw(st.sampled_from(PREFIXES))
    spell = {
        "prefix": lambda name: prefix + name,
        "folder": lambda name: name.split("/")[1],
        "suffix": lambda name: prefix + name.removesuffix(".jpg"),
        "other": lambda name: prefix + name.replace(".jpg", ".PNG"),
        "slash": lambda name: prefix + name.replace("/", "\\"),
    }[form]
    names = [spell(name) for name in wanted]
    found, notes = match_landmarks([*names, "Dora/9.jpg"], photos)
    assert found == dict(zip(wanted, names, strict=True))
    assert "1 lines of the list of landmarks name no photo, such as 'Dora" in notes[-1]


def test_names_that_may_mean_two_photos_are_refused():
    with pytest.raises(DataError, match=r"1.jpg in the .* may mean a/1.jpg or b/1.jpg"):
        match_landmarks(["1.jpg"], ["a/1.jpg", "b/1.jpg"])
    with pytest.raises(DataError, match=r"b/1 and a/1 .* both mean 1.jpg"):
        match_landmarks(["a/1", "b/1"], ["1.jpg"])
    with pytest.raises(
        DataError, match=r"it says 'x.jpg', the photos are called 'y.jpg'"
    ):
        match_landmarks(["x.jpg"], ["y.jpg"])
    found, _ = match_landmarks(["a.png", "a.jpg"], ["a.jpg", "a.png"])
    assert found == {"a.png": "a.png", "a.jpg": "a.jpg"}
    # The whole name, where it is one, before the end of another.
    assert match_landmarks(["a/1"], ["a/1.jpg", "b/a/1.jpg"])[0] == {"a/1.jpg": "a/1"}
