"""What computes the cascade: the same numbers, and torch only if asked for."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

from facever import runtimes
from facever.errors import ModelFileError, ParameterError
from facever.faces import mtcnn_backends
from facever.faces.detectors import make_detector
from facever.faces.mtcnn_backends import settle, start
from facever.faces.mtcnn_networks import (
    _folder,
    _read_state_dict,
    output_network,
    proposal_network,
    refining_network,
)
from facever.faces.photos import read_photo
from facever.synthetic import draw_face

BACKENDS = list(runtimes.RUNTIMES)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.mark.parametrize("file", ["pnet.pt", "rnet.pt", "onet.pt"])
def test_weights_are_read_as_torch_reads_them(file):
    path = _folder() / file
    expected = torch.load(path, weights_only=True)
    with path.open("rb") as opened:
        found = _read_state_dict(opened)
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)


@pytest.mark.parametrize(
    ("make", "theirs", "shapes"),
    [
        # The last row and column of windows are whole, cut off, or one of both.
        (proposal_network, PNet, [(1, 12, 12), (3, 30, 31), (2, 31, 44), (2, 45, 33)]),
        (refining_network, RNet, [(1, 24, 24), (32, 24, 24)]),
        (output_network, ONet, [(1, 48, 48), (16, 48, 48)]),
    ],
)
def test_networks_are_facenet_pytorchs(backend, make, theirs, shapes):
    run = start(make(), backend, "cpu")
    reference = theirs()
    for num_images, height, width in shapes:
        torch.manual_seed(height)
        images = torch.randn(num_images, 3, height, width)
        with torch.inference_mode():
            moves, *places, scores = reference(images)
        found = run(images.numpy())
        expected = torch.cat([moves, *places], dim=1).numpy()
        np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-5, atol=2e-6)
        ours = 1 / (1 + np.exp(-found[:, 0]))
        np.testing.assert_allclose(ours, scores[:, 1].numpy(), rtol=1e-5, atol=2e-6)


def assert_same_faces(found, expected):
    assert [len(faces) for faces in found] == [len(faces) for faces in expected]
    for faces, others in zip(found, expected, strict=True):
        for face, other in zip(faces, others, strict=True):
            np.testing.assert_allclose(face.landmarks, other.landmarks, atol=0.01)
            np.testing.assert_allclose(face.box, other.box, atol=0.01)
            assert face.score == pytest.approx(other.score, abs=1e-4)


@pytest.fixture(scope="module")
def drawn():
    """Photos of several sizes; faces in the middle, at the border, and none."""
    photos = [draw_face(0, person, 0).photo for person in range(6)]
    photos[1] = photos[1][:-7, 5:]
    photos[2] = photos[2][60:190, 70:200]
    photos[3] = np.full((90, 70, 3), 90, np.uint8)
    return [np.ascontiguousarray(photo) for photo in photos]


@pytest.fixture(scope="module")
def by_torch(drawn):
    return make_detector("mtcnn", backend="torch")(drawn)


def test_drawn_faces_are_the_same(backend, drawn, by_torch):
    assert sum(map(len, by_torch)) >= 5
    assert_same_faces(make_detector("mtcnn", backend=backend)(drawn), by_torch)


def test_faces_do_not_depend_on_how_photos_are_put_together(backend, drawn, by_torch):
    detect = make_detector("mtcnn", backend=backend)
    assert_same_faces([detect([photo])[0] for photo in drawn], by_torch)
    assert_same_faces(detect(drawn[::-1]), by_torch[::-1])


@pytest.mark.realdata
def test_faces_of_real_photos_are_the_same(data_folder):
    paths = sorted((data_folder / "lfw-deepfunneled").glob("*/*.jpg"))[::1100]
    photos = [read_photo(path) for path in paths]
    expected = make_detector("mtcnn-sphereface", backend="torch")(photos)
    assert sum(map(len, expected)) > len(photos)
    for name in BACKENDS:
        detect = make_detector("mtcnn-sphereface", backend=name)
        assert_same_faces(detect(photos), expected)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "auto"])
def test_torch_is_not_imported(name):
    script = f"""
import sys
from facever.faces.aligner import AlignRecipe
from facever.faces.photo_source import photo_in_memory
from facever.synthetic import draw_face
recipe = AlignRecipe(device="cpu", backend="{name}").settle()
photo = photo_in_memory("a", draw_face(0, 0, 0).photo)
[aligned] = recipe.make_aligner().align([photo])
print(recipe.device, recipe.uses_torch, len(aligned.crops))
print(sorted({{"torch", "facenet_pytorch", "torchvision"}} & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("cpu False 1\n[]\n", "")


def without(monkeypatch, *packages):
    find = runtimes.find_spec
    monkeypatch.setattr(
        runtimes,
        "find_spec",
        lambda package: None if package in packages else find(package),
    )


def test_auto_takes_the_fastest_that_is_installed(monkeypatch):
    assert settle("auto", "cpu") == ("openvino", "cpu")
    without(monkeypatch, "openvino")
    assert settle("auto", "cpu") == ("onnxruntime", "cpu")
    without(monkeypatch, "openvino", "onnx")
    assert settle("auto", "cpu") == ("torch", "cpu")
    assert settle("torch", "cpu") == ("torch", "cpu")


def test_auto_takes_torch_on_another_device(monkeypatch):
    monkeypatch.setattr(mtcnn_backends, "device_name", {"auto": "cuda:1"}.get)
    assert settle("auto", "auto") == ("torch", "cuda:1")
    assert settle("torch", "auto") == ("torch", "cuda:1")
    assert settle("openvino", "auto") == ("openvino", "cpu")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("openvino", "openvino", "openvino"),
        ("onnxruntime", "onnxruntime", "onnx"),
        ("onnxruntime", "onnx", "onnx"),
    ],
)
def test_a_backend_that_is_not_installed(monkeypatch, name, package, extra):
    without(monkeypatch, package)
    with pytest.raises(ModelFileError, match=rf"pip install '\.\[{extra}\]'") as error:
        make_detector("mtcnn", backend=name)
    assert f"backend {name} needs" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_backend():
    with pytest.raises(ParameterError, match="torch, onnxruntime, openvino, got 'tvm'"):
        settle("tvm", "cpu")
