"""``facever verify``: the answer, its words, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facever
from facever.errors import ParameterError, PhotoError

Command = Callable[..., Any]
CROPS = ("--detector", "crops")


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(
        tmp_path / "m.safetensors",
        threshold=0.999,
        threshold_far=0.001,
        thresholds=[(0.01, -1.0)],
    )


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two crops of the template."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        small = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(small, (96, 112)))
    return paths


def test_the_command_answers_in_words(
    command: Command, model: Path, photos: list[Path]
) -> None:
    first, second = photos
    finished = command("verify", first, first, "--model", model, *CROPS)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out == (
        "the same person: cosine 1.0000, above the threshold 0.9990, which accepts one "
        "pair of different people in a thousand\n"
    )
    finished = command("verify", first, second, "--model", model, *CROPS)
    assert finished.code == 0
    assert finished.out.startswith("different people: cosine 0.")


def test_json_holds_the_answer_and_the_model(
    command: Command, model: Path, photos: list[Path]
) -> None:
    options = ("--model", model, *CROPS, "--far", "0.01", "--json")
    finished = command("verify", *photos, *options)
    assert finished.code == 0
    told = json.loads(finished.out)
    assert told["model"] == str(model)
    assert (told["same"], told["threshold"], told["far"]) == (True, -1, 0.01)
    embedder = facever.load(model, detector="crops")
    assert told["cosine"] == pytest.approx(embedder.verify(*photos).cosine, abs=1e-5)
    for key, path in (("first", photos[0]), ("second", photos[1])):
        assert told[key]["source"] == str(path)
        assert told[key]["num_faces"] == 1
        assert told[key]["face"]["box"] == [0, 0, 95, 111]
        assert told[key]["face"]["score"] is None


def test_the_function_takes_what_the_command_takes(
    model: Path, photos: list[Path]
) -> None:
    report = facever.verify(*photos, model=model, threshold=0.9, detector="crops")
    assert (report.answer.threshold, report.answer.far) == (0.9, None)
    assert report.answer.same is (report.answer.cosine > 0.9)


def test_photos_are_read_before_the_model(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"cannot read .*none\.jpg: cannot be opened"):
        facever.verify(photos[0], tmp_path / "none.jpg", model=tmp_path / "no model")


def test_the_picture_shows_both_faces_framed(
    command: Command, model: Path, photos: list[Path], tmp_path: Path
) -> None:
    """The frame of a crop runs along its edge."""
    picture = tmp_path / "faces.png"
    options = ("--model", model, *CROPS, "--show", picture)
    finished = command("verify", *photos, *options)
    assert finished.code == 0
    last = finished.out.splitlines()[-1]
    assert last == f"{picture}: both photos, the compared faces framed"
    drawn = cv2.imread(str(picture))
    height, width, _ = drawn.shape
    assert (height, width) == (112, 96 + 2 + 96)
    plain = [cv2.imread(str(path)) for path in photos]
    for side, photo in zip((drawn[:, :96], drawn[:, -96:]), plain, strict=True):
        np.testing.assert_array_equal(side[40:90, 20:76], photo[40:90, 20:76])
        np.testing.assert_array_equal(side[40:90, 0], np.tile([110, 230, 60], (50, 1)))
    told = json.loads(command("verify", *photos, *options, "--json").out)
    assert told["show"] == str(picture)


def test_a_picture_that_cannot_be_is_told_first(
    command: Command, photos: list[Path], tmp_path: Path
) -> None:
    before = photos[0].read_bytes()
    for show, message in (
        (tmp_path / "faces.gif", "show must end in .png, .jpg, .jpeg, got "),
        (photos[0], "show must not be a photo that is read, got "),
    ):
        finished = command("verify", *photos, "--show", show, "--model", "none")
        assert finished.code == 2
        assert message in finished.err
    assert photos[0].read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", "2"), "threshold must be a cosine"),
        (("--far", "0.5"), "(0.001, 0.01), got 0.5"),
        (("--far", "0.01", "--threshold", "0.1"), "give threshold or far, not both"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    command: Command,
    model: Path,
    photos: list[Path],
    options: tuple[str, ...],
    message: str,
) -> None:
    finished = command("verify", *photos, "--model", model, *CROPS, *options)
    assert (finished.code, finished.out) == (2, "")
    assert message in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.usefixtures("types_unchecked")
def test_all_faces_are_no_choice(model: Path, photos: list[Path]) -> None:
    with pytest.raises(ParameterError, match="largest, center, best, got 'all'"):
        facever.verify(*photos, model=model, face="all", detector="crops")


def test_nothing_is_imported_that_two_photos_do_not_need() -> None:
    code = """
import sys
import facever.stages.verify, facever.inference.formats.onnx_file
from facever.faces.detectors import make_detector
make_detector("mtcnn")
heavy = {"albumentations", "facenet_pytorch", "faiss", "matplotlib", "pandas", "scipy"}
print(sorted(heavy.union(["sklearn", "torchvision"]) & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, check=True, text=True)
    assert finished.stdout == "[]\n"


@pytest.mark.realdata
def test_real_photos_with_the_ready_model(
    command: Command, data_folder: Path, tmp_path: Path
) -> None:
    """The ready model, the detector and photos of people, as on a user's machine."""
    lfw = data_folder / "lfw-deepfunneled"
    first, second = (lfw / f"Colin_Powell/Colin_Powell_000{n}.jpg" for n in (1, 2))
    other = lfw / "Tony_Blair/Tony_Blair_0001.jpg"
    cosines = []
    for one in (second, other):
        finished = command("verify", first, one, "--threshold", "0.36", "--json")
        assert finished.code == 0
        told = json.loads(finished.out)
        assert told["model"] == "sface"
        cosines.append(told["cosine"])
        assert told["same"] is (told["cosine"] > 0.36)
    assert cosines[0] > 0.5 > 0.3 > cosines[1]
    nobody = command("verify", first, data_folder / "photos/no_face.png")
    assert nobody.code == 2
    assert "no face found in" in nobody.err
