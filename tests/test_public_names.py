import json
import os
import subprocess
import sys

import pytest

import facever

PUBLIC = [
    "AnchorNCM",
    "Angular",
    "ArcFace",
    "Center",
    "ConfigError",
    "Contrastive",
    "CosFace",
    "CropStore",
    "DataError",
    "Distillation",
    "DivergedError",
    "EmbeddedFace",
    "EmbeddedPhoto",
    "Embedder",
    "EuclideanMargin",
    "Face",
    "FaceClusters",
    "FaceverError",
    "FileError",
    "Gallery",
    "GalleryError",
    "Hinge",
    "IncludeExclude",
    "Inputs",
    "JointHead",
    "Judging",
    "KeptEmbeddings",
    "LSoftmax",
    "Match",
    "MismatchError",
    "ModelFileError",
    "NotEnrolledError",
    "ParameterError",
    "PhotoError",
    "Softmax",
    "SphereFace",
    "TerminatedError",
    "TooFewImagesError",
    "TrainConfig",
    "Triplet",
    "UploadError",
    "Verification",
    "__version__",
    "align",
    "cluster",
    "cluster_embeddings",
    "compare_reports",
    "create_gallery",
    "embed",
    "evaluate_bin",
    "evaluate_lfw",
    "evaluate_list",
    "evaluate_ytf",
    "find_photos",
    "load",
    "load_config",
    "open_gallery",
    "set_model_threshold",
    "to_dataframe",
    "train",
    "verify",
]


def run(code: str) -> str:
    """The output of code in a fresh Python."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout


def test_the_public_names_are_these() -> None:
    assert sorted(facever.__all__) == sorted(PUBLIC)
    assert sorted(dir(facever)) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_at_home_in_facever(name: str) -> None:
    value = getattr(facever, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__module__.startswith("facever.")
        assert value.__doc__


def test_names_are_one_object_wherever_they_come_from() -> None:
    from facever.errors import FaceverError
    from facever.gallery.folder.gallery import Gallery
    from facever.inference.embedder import Embedder, load

    assert facever.Embedder is Embedder
    assert facever.load is load
    assert facever.Gallery is Gallery
    assert facever.FaceverError is FaceverError


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Embeder'"):
        facever.Embeder  # noqa: B018
    assert not hasattr(facever, "embedder_of_nothing")


def test_importing_facever_and_asking_for_help_takes_no_torch() -> None:
    code = """
import json, sys
import facever, facever.cli
sys.argv = ["facever", "--help"]
try:
    facever.cli.main()
except SystemExit as stop:
    assert stop.code == 0
heavy = {"albumentations", "cv2", "faiss", "numpy", "sklearn", "torch"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    assert json.loads(run(code).splitlines()[-1]) == []


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_threads_give_up_their_core_unless_somebody_says_otherwise(
    given: dict[str, str], spins: str
) -> None:
    """Before torch is imported, which reads it then."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    code = (
        "import os, sys, facever; assert 'torch' not in sys.modules;"
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.check_output(command, env=environment, text=True)
    assert said.strip() == spins


ALONE = """
import os, pkgutil, runpy, socket, sys
os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)
asked = []

def refuse(*arguments, **options):
    asked.append(arguments)
    raise OSError("no network in this test")

socket.getaddrinfo = refuse
socket.create_connection = refuse
socket.socket.connect = refuse
import facever
for module in pkgutil.walk_packages(facever.__path__, "facever."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
for name in facever.__all__:
    getattr(facever, name)
assert "albumentations" in sys.modules
try:
    runpy.run_module("facever", run_name="__main__")
finally:
    print(asked)
"""


def test_a_process_of_its_own_reaches_for_no_network_and_warns_of_nothing() -> None:
    """Every module is imported; then ``python -m facever`` gets a wrong path."""
    finished = subprocess.run(
        [sys.executable, "-c", ALONE, "gallery", "list", "no such folder"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert finished.stdout == "[]\n"
    assert finished.stderr.startswith("facever: no such folder: no such gallery")
    assert finished.stderr.count("\n") == 1
    assert finished.returncode == 2
