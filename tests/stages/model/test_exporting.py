"""``facever export``: the file gives what the model gives, or is not written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import facever
from facever.errors import FaceverError, FileError, ModelFileError, ParameterError
from facever.faces.templates import TEMPLATES
from facever.inference import header as header_module
from facever.inference.model_file import load_model
from facever.inference.parity import cosines, drawn_crops
from facever.stages.model.exporting import ExportSettings, export_model

CROPS = drawn_crops(TEMPLATES["112x96"], 5)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]
) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return make_model(folder / "m.safetensors", threshold=0.4, scale=64.0)


@pytest.mark.parametrize(
    "settings",
    [
        ExportSettings(),
        ExportSettings(raw=True, opset=18),
        ExportSettings(mirror_inside=True, openvino=True),
        ExportSettings(precision="fp16", openvino=True),
    ],
    ids=["plain", "raw", "mirror", "half"],
)
def test_the_file_is_the_model(
    model: Path, tmp_path: Path, settings: ExportSettings
) -> None:
    source = facever.load(model, precision="fp32")
    expected = source.embed_crops(CROPS)
    result = export_model(model, tmp_path / "m.onnx", settings)
    assert {path.suffix for path in result.files} == (
        {".onnx", ".xml"} if settings.openvino else {".onnx"}
    )
    for path in result.files:
        exported = facever.load(path, precision="fp32")
        found = exported.embed_crops(CROPS)
        assert cosines(found, expected).min() > 0.99999
        size = np.abs(found).max() / np.abs(expected).max()
        assert size == pytest.approx(1, abs=0.01)
        # It may be searched for in a gallery that the model has filled.
        assert exported.model_fingerprint == source.model_fingerprint
        assert exported.header.threshold == 0.4
        assert exported.header.precision == settings.precision
        rows = {(row.backend, row.batch_size) for row in exported.header.parity}
        assert rows >= {("onnxruntime", size) for size in (1, 2, 7, 64)}
        assert rows >= {("openvino", size) for size in (1, 2, 7, 64)}
    opset = onnx.load(tmp_path / "m.onnx").opset_import[0].version
    assert opset == (settings.opset or 20)
    # What is fastest and proven is taken.
    assert facever.load(tmp_path / "m.onnx").started.backend == "openvino"


def test_a_plain_script_runs_it(model: Path, tmp_path: Path) -> None:
    """Without facever, as the manual shows."""
    expected = facever.load(model, precision="fp32").embed_crops(CROPS)
    export_model(model, tmp_path / "m.onnx", ExportSettings(mirror_inside=True))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    [found] = session.run(["features"], {"crops": CROPS})
    assert cosines(found, expected).min() > 0.99999


def test_a_mean_image_goes_along(tmp_path: Path) -> None:
    from facever.inference.formats.safetensors_file import save_model
    from facever.inference.header import ModelHeader
    from facever.models import build_network

    torch.manual_seed(3)
    options = {"width": 1 / 16, "embedding_size": 16}
    header = ModelHeader("resnet27", options, 16, mean="image", mirror="none")
    network = build_network("resnet27", options)
    save_model(
        tmp_path / "m.safetensors", network, header, torch.rand(112, 96, 3) * 255
    )
    expected = facever.load(tmp_path / "m.safetensors", precision="fp32")
    export_model(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    found = facever.load(tmp_path / "m.onnx", precision="fp32")
    assert (
        cosines(found.embed_crops(CROPS), expected.embed_crops(CROPS)).min() > 0.99999
    )
    with pytest.raises(ParameterError, match="leave out raw"):
        export_model(
            tmp_path / "m.safetensors", tmp_path / "r.onnx", ExportSettings(raw=True)
        )


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
) -> Path:
    return make_store(tmp_path_factory.mktemp("crops") / "crops", (65, 65))


def test_whole_numbers(model: Path, store: Path, tmp_path: Path) -> None:
    settings = ExportSettings(precision="int8", calibrate=store, check=store)
    result = export_model(model, tmp_path / "m.onnx", settings)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) > 20
    stored = {each.name: each for each in graph.initializer}
    whole = [
        each for each in stored.values() if each.data_type == onnx.TensorProto.INT8
    ]
    assert len(whole) > 20
    exported = load_model(tmp_path / "m.onnx")
    assert exported.fingerprint != load_model(model).fingerprint
    assert exported.header.export["kept_in_float"] == list(result.kept_in_float)
    expected = facever.load(model, precision="fp32").embed_crops(CROPS)
    for backend in ("onnxruntime", "openvino"):
        embedder = facever.load(tmp_path / "m.onnx", backend=backend)
        assert embedder.started.precision == "int8"
        found = cosines(embedder.embed_crops(CROPS), expected)
        assert 0.97 < found.min() < 0.99999


def test_what_misses_its_bound_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(header_module.PARITY_BOUNDS, "fp32", 1.1)
    with pytest.raises(ModelFileError, match=r"not written: .* 1\.1 is the bound"):
        export_model(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ExportSettings(precision="int8"), "--calibrate CROPS"),
        (ExportSettings(calibrate=Path("x")), "calibrate is for precision int8"),
        (ExportSettings(raw=True, mirror_inside=True), "leave out one"),
        (ExportSettings(pairs=Path("x")), "--check CROPS"),
        (ExportSettings(check=Path("nowhere")), "nowhere"),
    ],
    ids=range(5),
)
def test_what_cannot_be_is_refused_in_one_line(
    model: Path, tmp_path: Path, settings: ExportSettings, words: str
) -> None:
    with pytest.raises(FaceverError, match=words) as refusal:
        export_model(model, tmp_path / "m.onnx", settings)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "m.onnx").exists()


def test_an_export_and_an_unknown_opset_are_refused(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=r"opset must be in \[18, \d+\], got 99"):
        export_model(model, tmp_path / "m.onnx", ExportSettings(opset=99))
    export_model(model, tmp_path / "m.onnx")
    with pytest.raises(ParameterError, match=r"export of m\.safetensors: export that"):
        export_model(tmp_path / "m.onnx", tmp_path / "again.onnx")


def test_the_place_and_its_suffix_are_looked_at_first(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=r"end in \.onnx"):
        export_model(model, tmp_path / "m.pt")
    (tmp_path / "m.xml").touch()
    with pytest.raises(FileError, match=r"m\.xml is there already"):
        export_model(model, tmp_path / "m.onnx", ExportSettings(openvino=True))


def test_a_missing_package_is_named(model: Path, tmp_path: Path) -> None:
    """In a process that cannot import onnxscript."""
    code = (
        "import sys; sys.modules['onnxscript'] = None\n"
        "from facever.cli import main\n"
        "main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "export", model, tmp_path / "m.onnx"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "needs the package onnxscript: pip install '.[export]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_crops_of_another_geometry_are_refused(tmp_path: Path, store: Path) -> None:
    from facever.inference.formats.safetensors_file import save_model
    from facever.inference.header import ModelHeader, crop_fields
    from facever.models import build_network

    template = crop_fields(TEMPLATES["160x160"])
    header = ModelHeader("inception_resnet_v1", {}, 512, **template)
    network = build_network("inception_resnet_v1", {})
    save_model(tmp_path / "m.safetensors", network, header)
    with pytest.raises(FaceverError, match="160x160"):
        export_model(
            tmp_path / "m.safetensors", tmp_path / "m.onnx", ExportSettings(check=store)
        )
