"""onnxruntime and OpenVINO beside torch, and which of them is taken."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import facever
from facever import hardware, runtimes
from facever.errors import ModelFileError, ParameterError
from facever.faces.templates import TEMPLATES
from facever.hardware import has_bf16_units
from facever.inference.backends import runtime_network
from facever.inference.backends.runtime_network import (
    RunningGraph,
    RuntimeNetwork,
    to_pixels,
)
from facever.inference.formats.onnx_graph import with_plain_weights
from facever.inference.formats.ports import ImageInput, Port
from facever.inference.header import ModelHeader, Parity
from facever.inference.parity import cosines, drawn_crops, measure_parity
from facever.inference.preprocessing import make_preprocessing

CROPS = drawn_crops(TEMPLATES["112x96"], 5)


@pytest.mark.parametrize("mirror", ["sum", "concat", "none"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_another_backend_gives_the_same(
    tmp_path: Path, make_model: Callable[..., Path], backend: str, mirror: str
) -> None:
    path = make_model(tmp_path / "m.safetensors", mirror=mirror)
    expected = facever.load(path, precision="fp32").embed_crops(CROPS)
    embedder = facever.load(path, precision="fp32", backend=backend)
    found = embedder.embed_crops(CROPS, batch_size=3)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert embedder.started.backend == backend
    assert backend in repr(embedder)


@pytest.mark.skipif(not has_bf16_units("cpu"), reason="no units for bfloat16")
def test_openvino_computes_in_bfloat16_where_asked(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = make_model(tmp_path / "m.safetensors")
    full = facever.load(path, precision="fp32").embed_crops(CROPS)
    half = facever.load(path, precision="bf16", backend="openvino").embed_crops(CROPS)
    assert cosines(half, full).min() > 0.9995
    assert np.abs(half - full).max() > 1e-5 * np.abs(full).max()


def test_the_numbers_of_a_crop_are_those_of_torch() -> None:
    for mean, scale in (
        (127.5, 128.0),
        ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
        (0.0, 1.0),
        (0.0, [2.0, 1.0, 1.0]),
    ):
        for order in ("RGB", "BGR"):
            expected = make_preprocessing(mean, scale, order)(torch.from_numpy(CROPS))
            found = to_pixels(CROPS, mean, scale, order).transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(found, expected.numpy())


def network_of(*backends: str, reached: list[str]) -> RuntimeNetwork:
    def start(name: str) -> Callable[[str, bool], RunningGraph]:
        def started(device: str, bf16: bool) -> RunningGraph:
            reached.append(f"{name} {'bf16' if bf16 else 'fp32'}")
            return RunningGraph(lambda images: images.mean((2, 3)), None)

        return started

    image = ImageInput("x", None, 112, 96, False, np.dtype(np.float32))
    output = Port("y", (None, 3), "FLOAT")
    return RuntimeNetwork(
        Path("n.onnx"), image, output, {each: start(each) for each in backends}
    )


def parity(backend: str, precision: str, lowest: float) -> Parity:
    return Parity(backend, precision, 1, lowest, 1.0)


@pytest.mark.parametrize(
    ("proven", "installed", "units", "asked", "expected"),
    [
        ([], True, True, ("auto", "auto"), "onnxruntime fp32"),
        ([("openvino", "fp32", 1.0)], True, True, ("auto", "auto"), "openvino fp32"),
        ([("openvino", "bf16", 0.9999)], True, True, ("auto", "auto"), "openvino bf16"),
        (
            [("openvino", "bf16", 0.99)],
            True,
            True,
            ("auto", "auto"),
            "onnxruntime fp32",
        ),
        (
            [("openvino", "bf16", 0.9999), ("openvino", "fp32", 1.0)],
            True,
            False,
            ("auto", "auto"),
            "openvino fp32",
        ),
        (
            [("openvino", "fp32", 1.0)],
            False,
            True,
            ("auto", "auto"),
            "onnxruntime fp32",
        ),
        ([], True, True, ("auto", "openvino"), "openvino fp32"),
        ([], True, True, ("bf16", "auto"), "openvino bf16"),
        ([("openvino", "bf16", 1.0)], True, True, ("fp32", "auto"), "onnxruntime fp32"),
    ],
)
def test_auto_takes_the_fastest_that_is_proven_and_installed(
    monkeypatch: pytest.MonkeyPatch,
    proven: list[tuple[str, str, float]],
    installed: bool,
    units: bool,
    asked: tuple[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(runtime_network, "is_installed", lambda each: installed)
    monkeypatch.setattr(hardware, "has_bf16_units", lambda each: units)
    reached: list[str] = []
    header = ModelHeader("n", {}, 3, parity=[parity(*each) for each in proven])
    network = network_of("onnxruntime", "openvino", reached=reached)
    precision, backend = asked
    network.start(header, "cpu", precision, backend)
    assert reached == [expected]


def test_what_cannot_be_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    header = ModelHeader("n", {}, 3)
    network = network_of("onnxruntime", reached=[])
    with pytest.raises(ParameterError, match=r"must be one of onnxruntime for n\.onnx"):
        network.start(header, "cpu", "auto", "torch")
    with pytest.raises(ParameterError, match="precision must be auto or fp32"):
        network.start(header, "cpu", "bf16", "onnxruntime")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match=r"needs the package openvino: .*openvino"):
        network.start(header, "cpu", "auto", "openvino")


@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_backend_is_refused(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = make_model(tmp_path / "m.safetensors")
    with pytest.raises(ParameterError, match="auto, torch, onnxruntime, openvino"):
        facever.load(path, backend="tensorrt")


def test_parity_is_the_cosine_of_every_batch() -> None:
    rng = np.random.default_rng(3)
    expected = rng.normal(size=(5, 8)).astype(np.float32)
    found = expected + rng.normal(scale=0.1, size=(5, 8)).astype(np.float32)
    asked: list[int] = []

    def features_at(size: int) -> np.ndarray:
        asked.append(size)
        return found

    rows = measure_parity("openvino", "fp32", features_at, expected, [1, 2, 7])
    by_hand = [
        float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        for a, b in zip(found.astype(float), expected.astype(float), strict=True)
    ]
    for row in rows:
        assert row.lowest_cosine == pytest.approx(min(by_hand), abs=1e-9)
        assert row.mean_cosine == pytest.approx(np.mean(by_hand), abs=1e-9)
        assert not row.holds
    assert asked == [row.batch_size for row in rows] == [1, 2, 7]
    # A backend that gives no numbers is not alike, whatever the others are.
    found[3, 2] = np.nan
    [row] = measure_parity("openvino", "fp32", features_at, expected, [1])
    assert row.lowest_cosine == -1


@pytest.mark.parametrize(
    ("scale_shape", "facts"),
    [
        ((), {}),
        ((4,), {"axis": 0}),
        ((6,), {"axis": 1}),
        ((6,), {"axis": -1}),
        ((4, 2), {"axis": 1, "block_size": 3}),
        ((2, 6), {"axis": 0, "block_size": 2}),
        ((1, 6), {"axis": 0, "block_size": 5}),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_zero", [False, True])
def test_small_weights_become_those_that_are_used(
    scale_shape: tuple[int, ...], facts: dict[str, int], has_zero: bool
) -> None:
    """Oracle: the reference evaluator of ONNX."""
    rng = np.random.default_rng(1)
    arrays = {
        "w": rng.integers(-128, 128, (4, 6), dtype=np.int8),
        "s": rng.random(scale_shape, dtype=np.float32) + np.float32(0.1),
        "z": rng.integers(-5, 5, scale_shape, dtype=np.int8),
    }
    names = ["w", "s", *(["z"] if has_zero else [])]
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", names, ["plain"], **facts),
            helper.make_node("MatMul", ["x", "plain"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6])],
        [numpy_helper.from_array(np.asarray(arrays[name]), name) for name in names],
    )
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)]
    )
    images = rng.normal(size=(2, 4)).astype(np.float32)
    [expected] = ReferenceEvaluator(model).run(None, {"x": images})
    plain = with_plain_weights(model)
    assert [node.op_type for node in plain.graph.node] == ["MatMul"]
    assert [each.name for each in plain.graph.initializer] == ["plain"]
    onnx.checker.check_model(plain)
    [found] = ReferenceEvaluator(plain).run(None, {"x": images})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_is_computed_without_torch(
    tmp_path: Path, make_model: Callable[..., Path], backend: str
) -> None:
    from facever.inference.exporting import export_graph, plain_header
    from facever.inference.formats.onnx_graph import write_onnx
    from facever.inference.model_file import load_model

    model = load_model(make_model(tmp_path / "m.safetensors"))
    graph = export_graph(model)
    write_onnx(tmp_path / "m.onnx", graph, plain_header(model.header))
    check = (
        "import sys, numpy, facever; "
        f"e = facever.load({str(tmp_path / 'm.onnx')!r}, backend={backend!r}); "
        "e.embed_crops(numpy.zeros((2, 112, 96, 3), numpy.uint8)); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
