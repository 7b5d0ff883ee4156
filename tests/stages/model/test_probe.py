"""A network whose makers say nothing is asked how it wants its crops."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facever.choices import TemplateName
from facever.data.store.crop_store import CropStore
from facever.data.store.writer import CropWriter
from facever.errors import DataError, MismatchError, ModelFileError, ParameterError
from facever.faces.templates import TEMPLATES
from facever.inference.embedder import load
from facever.inference.model_file import load_model
from facever.stages.model.probe import PROBE_FILE, probe_model
from facever.stages.model.probe_report import ProbeReport
from facever.synthetic import write_photos

PEOPLE, PHOTOS = 16, 4

# The bootstraps take thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")


def write_network(
    path: Path, order: str = "RGB", size: tuple[int, int] | None = (112, 112)
) -> Path:
    """A network for pixels from -1 to 1 that looks at red and green.

    Its embedding is the means of 16 x 16 blocks, times a gate that is shut where the
    lightest pixel is not 1 or the darkest not -1, within a hundredth.
    """
    height, width = size or ("height", "width")
    constants = {
        "colours": np.array([1, 1, 0] if order == "RGB" else [0, 1, 1]).reshape(
            3, 1, 1
        ),
        "one": np.array(1),
        "two": np.array(2),
        "steep": np.array(100),
        "nought": np.array(0),
    }
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["lightest"], axes=[1, 2, 3]),
        helper.make_node("ReduceMin", ["x"], ["darkest"], axes=[1, 2, 3]),
        helper.make_node("Sub", ["lightest", "one"], ["off_light"]),
        helper.make_node("Add", ["darkest", "one"], ["off_dark"]),
    ]
    for side in ("light", "dark"):
        nodes += [
            helper.make_node("Abs", [f"off_{side}"], [f"far_{side}"]),
            helper.make_node("Mul", [f"far_{side}", "steep"], [f"much_{side}"]),
            helper.make_node("Sub", ["two", f"much_{side}"], [f"near_{side}"]),
            helper.make_node("Clip", [f"near_{side}", "nought", "one"], [f"is_{side}"]),
        ]
    nodes += [
        helper.make_node("Mul", ["is_light", "is_dark"], ["gate"]),
        helper.make_node("Mul", ["x", "colours"], ["seen"]),
        helper.make_node("Mul", ["seen", "gate"], ["passed"]),
        helper.make_node(
            "AveragePool",
            ["passed"],
            ["blocks"],
            kernel_shape=[16, 16],
            strides=[16, 16],
        ),
        helper.make_node("Flatten", ["blocks"], ["y"]),
    ]
    shape = ["N", 3, height, width]
    graph = helper.make_graph(
        nodes,
        "gate",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def expected(crops: np.ndarray, order: str = "RGB") -> np.ndarray:
    """What the network gives for crops that it is given rightly, in NumPy."""
    images = (crops.astype(np.float64) - 127.5) / 127.5
    images[..., 2] = 0
    if order == "BGR":
        images = images[..., ::-1]
    count, height, width, _ = images.shape
    blocks = images.reshape(count, height // 16, 16, width // 16, 16, 3).mean((2, 4))
    return blocks.transpose(0, 3, 1, 2).reshape(count, -1)


def draw_crops(template: TemplateName) -> np.ndarray:
    """Red and green are the person's, blue is the photo's alone."""
    rng = np.random.default_rng(4)
    height, width, _ = TEMPLATES[template].shape
    blocks = -(-height // 16), -(-width // 16)
    crops = []
    for _ in range(PEOPLE):
        person = rng.integers(60, 190, (*blocks, 3))
        for _ in range(PHOTOS):
            photo = person + rng.integers(-40, 41, (*blocks, 3))
            photo[..., 2] = rng.integers(20, 230, blocks)
            crop = photo.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
            crop[0, 20:22] = [[0] * 3, [255] * 3]
            crops.append(crop.astype(np.uint8))
    return np.array(crops)


def sources() -> list[str]:
    return [
        f"P{p}/P{p}_{n:04d}.png" for p in range(PEOPLE) for n in range(1, PHOTOS + 1)
    ]


def write_store(folder: Path, template: TemplateName = "112x112") -> Path:
    listing = [(source, source.split("/")[0]) for source in sources()]
    settings = {"template": TEMPLATES[template].description}
    unknown = np.full((1, 5, 2), np.nan)
    with CropWriter(folder, settings, listing) as writer:
        for source, crop in zip(sources(), draw_crops(template), strict=True):
            writer.add(source, crop[None], unknown, np.array([np.nan]))
        writer.finish()
    return folder


def write_pairs(path: Path, name: str = "P{}", people: int = PEOPLE) -> Path:
    """All pairs of a person's photos, and as many of a person and the next two."""
    genuine = [
        (name.format(p), a, b)
        for p in range(people)
        for a, b in combinations(range(1, PHOTOS + 1), 2)
    ]
    impostor = [
        (name.format(p), a, name.format((p + step) % people), a % PHOTOS + step)
        for p in range(people)
        for step in (1, 2)
        for a in range(1, 4)
    ]
    impostor = [(p, a, q, min(b, PHOTOS)) for p, a, q, b in impostor]
    lines = [str(len(genuine))]
    lines += ["\t".join(map(str, pair)) for pair in genuine + impostor]
    path.write_text("\n".join(lines) + "\n")
    return path


def cosines(vectors: np.ndarray, report: ProbeReport, way: Any) -> np.ndarray:
    """Of the pairs of a standing, by a loop."""
    place = {source[:-4]: row for row, source in enumerate(sources())}
    pairs = way.evaluation.pairs
    found = []
    for left, right in zip(pairs.left, pairs.right, strict=True):
        a, b = vectors[place[left[:-4]]], vectors[place[right[:-4]]]
        found.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return np.array(found)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("probe") / "crops")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairsDevTrain.txt")


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_what_a_network_was_made_for_is_found_and_written(
    tmp_path: Path, store: Path, pairs: Path, order: str
) -> None:
    network = write_network(tmp_path / "network.onnx", order)
    report = probe_model(
        network, pairs, crops=[store], out=tmp_path / "out", device="cpu"
    )
    assert str(report.chosen) == f"112x112 {order} (x-127.5)/127.5"
    assert report.failure() is None
    by_name = dict(zip(map(str, report.inputs), report.choice.standings, strict=True))
    assert len(by_name) == 12
    assert [str(report.inputs[way]) for way in sorted(report.choice.equal)] == [
        f"112x112 {order} (x-127.5)/127.5",
        f"112x112 {order} (x-127.5)/128",
    ]
    alike = by_name[f"112x112 {order} (x-127.5)/128"].alike
    assert report.inputs[alike] == report.chosen

    vectors = expected(draw_crops("112x112"), order)
    flipped = expected(draw_crops("112x112")[:, :, ::-1], order)
    merged = {
        "sum": vectors + flipped,
        "concat": np.hstack([vectors, flipped]),
        "none": vectors,
    }
    standing = by_name[str(report.chosen)]
    own = cosines(vectors, report, standing)
    np.testing.assert_allclose(standing.evaluation.scores, own, atol=1e-5)
    for rule, each in zip(merged.values(), report.mirrors.standings, strict=True):
        own = cosines(rule, report, each)
        np.testing.assert_allclose(each.evaluation.scores, own, atol=1e-5)

    header = load_model(tmp_path / "out" / "network.onnx").header
    assert (header.mean, header.scale, header.channel_order) == (127.5, 127.5, order)
    assert header.find_template() is TEMPLATES["112x112"]
    assert header.mirror == report.mirror
    embedder = load(tmp_path / "out" / "network.onnx", "cpu", "fp32")
    np.testing.assert_allclose(
        embedder.embed_crops(draw_crops("112x112")), merged[header.mirror], atol=1e-5
    )
    written = json.loads((tmp_path / "out" / PROBE_FILE).read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert (written["channel_order"], written["mean"]) == (order, 127.5)


def test_what_is_said(tmp_path: Path, store: Path, pairs: Path) -> None:
    network = write_network(tmp_path / "network.onnx")
    lines = probe_model(network, pairs, crops=[store]).lines()
    [made_for] = [line for line in lines if line.startswith("made for: ")]
    assert made_for == (
        "made for: 112x112 RGB (x-127.5)/127.5; these pairs cannot tell 112x112 RGB "
        "(x-127.5)/128 (nearly the same cosines) from it, and it is the most common of "
        "them; 10 of 12 are worse, at the level 0.05"
    )
    table = [line for line in lines if "│ 112x112 " in line]
    verdicts = [line.split("│")[-2].strip() for line in table]
    assert verdicts[0] == "best"
    assert sorted(verdicts[1:]) == ["alike", *["worse"] * 10]
    assert max(map(len, table)) <= 80
    assert any(line.startswith("mirror rule: ") for line in lines)


def test_command(
    tmp_path: Path, store: Path, pairs: Path, command: Callable[..., Any]
) -> None:
    network = write_network(tmp_path / "network.onnx", "BGR")
    told = ("model", "probe", network, "--pairs", pairs, "--crops", store)
    finished = command(*told, "--json")
    assert finished.code == 0, finished.err
    found = json.loads(finished.out)
    assert (found["template"], found["channel_order"]) == ("112x112", "BGR")
    assert len(found["inputs"]) == 12
    assert [each["mirror"] for each in found["mirrors"]] == ["sum", "concat", "none"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "network.onnx",
        "pairsDevTrain.txt",
    ]


def test_a_network_of_no_use_is_called_so_and_gets_no_header(
    tmp_path: Path, store: Path, pairs: Path, command: Callable[..., Any], onnx_networks
) -> None:
    # It wants pixels of other sizes than any that are tried, so its gate stays shut.
    network = write_network(tmp_path / "network.onnx")
    model = onnx.load(network)
    [steep] = [each for each in model.graph.initializer if each.name == "one"]
    steep.CopyFrom(numpy_helper.from_array(np.float32(7), "one"))
    onnx.save(model, network)
    out = tmp_path / "out"
    finished = command(
        "model", "probe", network, "--pairs", pairs, "--crops", store, "--out", out
    )
    assert finished.code == 2
    assert "made for" not in finished.out
    assert "verdict" in finished.out
    last = finished.err.splitlines()[-1]
    assert last.startswith(f"facever: {network}: the best of 12 ways to give it crops ")
    assert "it is no face network, or was made for other crops" in last
    assert [path.name for path in out.iterdir()] == [PROBE_FILE]


def test_numbers_that_overflow_are_a_wrong_way_and_no_error(
    tmp_path: Path, store: Path, pairs: Path
) -> None:
    network = write_network(tmp_path / "network.onnx")
    model = onnx.load(network)
    model.graph.node[-1].output[0] = "flat"
    # Infinite where the gate is shut, 1 where it is open.
    model.graph.node.append(helper.make_node("Div", ["one", "gate"], ["open"]))
    model.graph.node.append(helper.make_node("Flatten", ["open"], ["column"]))
    model.graph.node.append(helper.make_node("Add", ["flat", "column"], ["y"]))
    onnx.save(model, network)
    report = probe_model(network, pairs, crops=[store], device="cpu")
    assert str(report.chosen) == "112x112 RGB (x-127.5)/127.5"
    raw = report.choice.standings[2]
    assert (str(report.inputs[2]), raw.separation) == ("112x112 RGB x", 0)


def test_a_wider_store_serves_and_only_what_fits_is_tried(
    tmp_path: Path, store: Path, pairs: Path
) -> None:
    network = write_network(tmp_path / "card.onnx", size=(112, 96))
    # Photos are not looked at where crops are given.
    report = probe_model(
        network, pairs, crops=[store], photos=tmp_path / "none", device="cpu"
    )
    assert {each.template.name for each in report.inputs} == {"112x96"}
    chosen = report.choice.standings[report.choice.chosen]
    vectors = expected(draw_crops("112x112")[:, :, 8:104])
    own = cosines(vectors, report, chosen)
    np.testing.assert_allclose(chosen.evaluation.scores, own, atol=1e-5)


def test_a_network_of_any_size_is_given_every_template_there_is(
    tmp_path: Path, store: Path, pairs: Path
) -> None:
    network = write_network(tmp_path / "free.onnx", size=None)
    stores = [store, write_store(tmp_path / "large", "160x160")]
    report = probe_model(network, pairs, crops=stores, device="cpu")
    assert [each.template.name for each in report.inputs] == (
        ["112x96"] * 12 + ["112x112"] * 12 + ["160x160"] * 12
    )


def test_photos_are_aligned_once_and_only_those_that_the_pairs_name(
    tmp_path: Path, pairs: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_photos(photos, 0, 0, 8, PHOTOS)
    some = write_pairs(tmp_path / "pairs.txt", "person_0000{}", people=7)
    network = write_network(tmp_path / "network.onnx")
    for _ in range(2):
        report = probe_model(network, some, photos=photos, out=out, device="cpu")
        store = CropStore.open(out / "crops" / "112x112")
        assert store.template is TEMPLATES["112x112"]
        assert store.settings["face"] == "center"
        named = {*store.sources, *store.failures}
        assert named
        assert not any(source.startswith("person_00007") for source in named)
    assert len(report.inputs) == 12


def test_what_is_refused(
    tmp_path: Path, store: Path, pairs: Path, make_store: Callable[..., Path]
) -> None:
    network = write_network(tmp_path / "network.onnx")
    with pytest.raises(ParameterError, match="give photos or crops, got neither"):
        probe_model(network, pairs)
    view_2 = tmp_path / "pairs.txt"
    view_2.write_text("2\t1\nA\t1\t2\nA\t1\tB\t1\nB\t1\t2\nA\t2\tB\t2\n")
    with pytest.raises(
        DataError, match=r"View 2's, on which nothing is chosen: give pa"
    ):
        probe_model(network, view_2, crops=[store])
    with pytest.raises(DataError, match=r"has none of the photos .* P0/P0_0001\.jpg"):
        probe_model(network, pairs, crops=[write_other(tmp_path / "others")])
    with pytest.raises(MismatchError, match=r"takes 112x112 .* stores given 112x96"):
        probe_model(network, pairs, crops=[make_store(tmp_path / "card")])
    odd = write_network(tmp_path / "odd.onnx", size=(64, 64))
    with pytest.raises(MismatchError, match=r"takes 64x64 .* templates are none"):
        probe_model(odd, pairs, crops=[store])
    with pytest.raises(ModelFileError, match="no model file"):
        probe_model(tmp_path / "none.onnx", pairs, crops=[store])


def write_other(folder: Path) -> Path:
    settings = {"template": TEMPLATES["112x112"].description}
    with CropWriter(folder, settings, [("Z/1.png", "Z")]) as writer:
        crop = np.zeros((1, 112, 112, 3), np.uint8)
        writer.add("Z/1.png", crop, np.full((1, 5, 2), np.nan), np.array([np.nan]))
        writer.finish()
    return folder
