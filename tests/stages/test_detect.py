import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from facever.errors import FileError, ParameterError
from facever.faces.photos import read_photo
from facever.stages.detect import FACE_COLUMNS, detect
from facever.synthetic import draw_face


@pytest.fixture(scope="module")
def truth():
    """By source: the landmarks of the faces drawn there; of two, the larger first."""
    first, second, third = (draw_face(0, person, 0) for person in range(3))
    small = np.asarray(Image.fromarray(third.photo).resize((118, 110)))
    scale = np.array([118 / third.photo.shape[1], 110 / third.photo.shape[0]])
    both = np.full((260, 400, 3), 90, np.uint8)
    both[:110, 270:388] = small
    both[: second.photo.shape[0], : second.photo.shape[1]] = second.photo
    shrunk = (third.landmarks + 0.5) * scale - 0.5 + [270, 0]
    return {
        "Ann/one.png": (first.photo, [first.landmarks]),
        "two.png": (both, [second.landmarks, shrunk]),
        "none.png": (np.full((80, 80, 3), 90, np.uint8), []),
    }


@pytest.fixture
def photos(tmp_path, truth):
    folder = tmp_path / "photos"
    (folder / "Ann").mkdir(parents=True)
    for source, (photo, _) in truth.items():
        Image.fromarray(photo).save(folder / source)
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def check_faces(found, landmarks):
    assert len(found) == len(landmarks)
    for points, expected in zip(found, landmarks, strict=True):
        eyes = np.linalg.norm(expected[1] - expected[0])
        assert np.linalg.norm(points - expected, axis=1).mean() / eyes < 0.25


def test_faces_in_a_video(tmp_path, truth, write_video):
    photo, landmarks = truth["two.png"]
    frames = [photo, np.full_like(photo, 90), photo[:, ::-1], photo]
    path = write_video(tmp_path / "clip.avi", frames)
    show = tmp_path / "shown"
    found = detect(path, detector="yunet", workers=1, frames="every:2", show=show)
    assert [photo.source for photo in found.photos] == [
        "clip.avi/000001.jpg",
        "clip.avi/000003.jpg",
    ]
    check_faces([face.landmarks for face in found.photos[0].faces], landmarks)
    # A mirror swaps left and right.
    mirrored = [
        (points[[1, 0, 2, 4, 3]] - [photo.shape[1] - 1, 0]) * [-1, 1]
        for points in landmarks
    ]
    check_faces([face.landmarks for face in found.photos[1].faces], mirrored)
    assert len(list(show.rglob("*.*g"))) == 2


def test_faces_and_reasons(photos, truth, capsys):
    found = detect(photos, detector="yunet", workers=1)
    assert [photo.source for photo in found.photos] == [
        "Ann/one.png",
        "broken.jpg",
        "none.png",
        "two.png",
    ]
    for photo in found.photos:
        if photo.source in truth:
            image, landmarks = truth[photo.source]
            assert (photo.height, photo.width) == image.shape[:2]
            check_faces([face.landmarks for face in photo.faces], landmarks)
    assert (found.num_photos, found.num_faces) == (4, 3)
    assert (found.num_without_face, found.num_unreadable) == (1, 1)
    assert found.failure() is None
    assert capsys.readouterr().out == ""
    printed = str(found)
    assert "none.png: no face found" in printed
    assert "broken.jpg: not an image that can be read" in printed
    assert "3 faces in 4 photos, 1 without a face, 1 unreadable" in printed
    content = json.loads(json.dumps(found.to_dict()))
    [one] = content["photos"][0]["faces"]
    assert np.shape(one["landmarks"]) == (5, 2)
    assert len(one["box"]) == 4
    assert 0.7 < one["score"] <= 1


def test_a_csv_holds_the_same_as_the_list(photos, tmp_path):
    listed = detect(photos, detector="yunet", workers=1)
    out = tmp_path / "faces.csv"
    found = detect(photos, detector="yunet", workers=2, out=out)
    assert found.photos is None
    assert found.num_faces == 3
    assert str(out) in str(found)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FACE_COLUMNS
    assert [(row["source"], row["face"], row["reason"]) for row in rows] == [
        ("Ann/one.png", "1", ""),
        ("broken.jpg", "", "not an image that can be read"),
        ("none.png", "", "no face found"),
        ("two.png", "1", ""),
        ("two.png", "2", ""),
    ]
    face = listed.photos[3].faces[1]
    values = [float(rows[4][column]) for column in FACE_COLUMNS[3:17]]
    np.testing.assert_allclose(values[:4], face.box, atol=0.006)
    np.testing.assert_allclose(values[4:], face.landmarks.ravel(), atol=0.006)
    assert float(rows[4]["score"]) == pytest.approx(face.score, abs=1e-4)


def test_pictures_of_photos_with_faces(photos, truth, tmp_path):
    found = detect(photos, detector="yunet", workers=1, show=tmp_path / "shown")
    assert len(list((tmp_path / "shown").rglob("*.*"))) == 2
    for photo in found.photos:
        path = tmp_path / "shown" / photo.source
        assert path.exists() == bool(photo.faces)
        if photo.faces:
            original, drawn = truth[photo.source][0], read_photo(path)
            left, top, *_ = photo.faces[0].box.round().astype(int)
            assert (drawn[top + 5, left] != original[top + 5, left]).any()
            assert (drawn[-1, -1] == original[-1, -1]).all()


def test_the_picture_of_one_photo(photos, tmp_path):
    detect(photos / "two.png", detector="yunet", show=tmp_path / "two.png")
    assert read_photo(tmp_path / "two.png").shape == (260, 400, 3)


def test_pictures_of_photos_whose_names_say_no_picture_format(photos, tmp_path):
    image = Image.open(photos / "Ann" / "one.png")
    (tmp_path / "other").mkdir()
    image.save(tmp_path / "other" / "a.webp", lossless=True)
    detect(tmp_path / "other", detector="yunet", show=tmp_path / "shown")
    assert [path.name for path in (tmp_path / "shown").iterdir()] == ["a.webp.jpg"]


@pytest.mark.usefixtures("types_unchecked")
def test_wrong_options_are_refused_before_anything_is_written(photos, tmp_path):
    one = photos / "two.png"
    before = one.read_bytes()
    listing = tmp_path / "list.csv"
    listing.write_text("source,identity\nphotos/two.png,B\n")
    wrong = [
        (photos, {"detector": "eyes"}, "detector must be one of mtcnn"),
        (photos, {"detector": "crops"}, "one that searches, .*yunet; got 'crops'"),
        (photos, {"workers": 0}, "workers must be at least 1, got 0"),
        (photos, {"max_pixels": 0}, "max_pixels must be at least 1, got 0"),
        (photos, {"show": tmp_path / "a.png"}, "several photos, here 4"),
        (one, {"show": one}, "show must not be what is read"),
        (listing, {"show": one}, "show must not be what is read"),
        (listing, {"out": listing}, "out must not be what is read"),
    ]
    for source, options, message in wrong:
        with pytest.raises(ParameterError, match=message):
            detect(source, **options)
    with pytest.raises(FileError, match="is there already: choose another name"):
        detect(photos, detector="yunet", workers=1, show=photos)
    with pytest.raises(FileError, match="no such file or folder"):
        detect(tmp_path / "nothing")
    assert one.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.csv", "photos"]


def test_on_the_command_line(photos, command):
    shown = command("detect", photos / "two.png", "--detector", "yunet")
    assert shown.code == 0
    assert "2 faces in 1 photo, 0 without a face" in shown.out
    shown = command("detect", photos / "two.png", "--detector", "yunet", "--json")
    [photo] = json.loads(shown.out)["photos"]
    assert photo["source"] == "two.png"
    assert len(photo["faces"]) == 2


def test_that_no_photo_can_be_read_is_an_error(photos, command):
    failed = command("detect", photos / "broken.jpg", "--detector", "yunet")
    assert failed.code == 2
    assert "broken.jpg: not an image that can be read" in failed.out
    assert "1 photo, none of which can be read" in failed.err
    without = command("detect", photos / "none.png", "--detector", "yunet")
    assert without.code == 0
    assert "none.png: no face found" in without.out


@pytest.mark.realdata
def test_ordinary_photos(data_folder):
    found = detect(data_folder / "photos", detector="yunet", workers=1)
    faces = {photo.source: len(photo.faces) for photo in found.photos}
    assert faces["group-t1.jpg"] == faces["multiface.jpg"] == 6
    assert faces["no_face.png"] == 0
    assert faces["people/paul_rudd/1.jpg"] == 1


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_backends_of_the_command(command, tmp_path, truth, backend):
    photo, landmarks = truth["two.png"]
    Image.fromarray(photo).save(tmp_path / "two.png")
    finished = command(
        *("detect", tmp_path / "two.png", "--backend", backend, "--device", "cpu"),
        "--json",
    )
    assert finished.code == 0
    [found] = json.loads(finished.out)["photos"]
    check_faces([np.array(face["landmarks"]) for face in found["faces"]], landmarks)


@pytest.mark.parametrize("name", ["detect", "align"])
def test_a_backend_that_is_not_installed_in_a_line(
    command, tmp_path, photos, monkeypatch, name
):
    monkeypatch.setattr("facever.runtimes.find_spec", lambda _: None)
    out = [tmp_path / "crops"] if name == "align" else []
    finished = command(name, photos, *out, "--backend", "openvino")
    assert (finished.code, finished.out) == (2, "")
    assert "pip install '.[openvino]'" in finished.err
    assert finished.err.count("\n") == 1
    assert not any(path.exists() for path in out)


def test_finding_faces_imports_no_torch(tmp_path, truth):
    Image.fromarray(truth["two.png"][0]).save(tmp_path / "two.png")
    script = f"""
import sys
from pathlib import Path
from facever.stages.detect import detect
found = detect(Path({str(tmp_path)!r}), device="cpu")
print(found.num_faces, "torch" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout == "2 False\n"
