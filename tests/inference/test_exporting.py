"""Graphs around a network: what they take in, and how they merge mirror images."""

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from facever.errors import ModelFileError
from facever.inference.formats.ports import ImageInput, Port
from facever.inference.formats.whole_graph import is_ours, whole_graph
from facever.inference.quantising import _search

HIGH, WIDE, DIM = 4, 3, 5


def network(channels_last: bool, opset: int = 17) -> tuple[onnx.ModelProto, np.ndarray]:
    """One product with all pixels: features of which every pixel has its own part."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(HIGH * WIDE * 3, DIM)).astype(np.float32)
    shape = ["n", HIGH, WIDE, 3] if channels_last else ["n", 3, HIGH, WIDE]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", DIM])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets), weights


def wrapped(
    model: onnx.ModelProto, channels_last: bool, mirror: str
) -> onnx.ModelProto:
    """A network that takes pixels as they are."""
    return whole_graph(
        model,
        ImageInput("x", None, HIGH, WIDE, channels_last, np.dtype(np.float32)),
        "y",
        size=(HIGH, WIDE),
        dim=DIM,
        mean=0.0,
        scale=1.0,
        channel_order="RGB",
        mirror=mirror,
    )


def by_hand(
    crop: np.ndarray,
    weights: np.ndarray,
    mean: object,
    scale: object,
    order: str,
    channels_last: bool,
) -> np.ndarray:
    """Pixel by pixel."""
    mean = np.broadcast_to(np.asarray(mean, float), crop.shape)
    scale = np.broadcast_to(np.asarray(scale, float), crop.shape)
    features = np.zeros(DIM)
    for row, column, colour in itertools.product(range(HIGH), range(WIDE), range(3)):
        value = crop[row, column, colour] - mean[row, column, colour]
        value /= scale[row, column, colour]
        place = colour if order == "RGB" else 2 - colour
        if channels_last:
            index = (row * WIDE + column) * 3 + place
        else:
            index = (place * HIGH + row) * WIDE + column
        features += value * weights[index]
    return features


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("mirror", ["none", "sum", "concat"])
@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (0.0, 1.0),
        (127.5, 128.0),
        ([90.0, 100.0, 110.0], [50.0, 60.0, 70.0]),
        ("image", 2.0),
    ],
    ids=["as they are", "one number", "colours", "image"],
)
def test_a_whole_graph_by_hand(
    channels_last: bool, order: str, mirror: str, mean: object, scale: object
) -> None:
    rng = np.random.default_rng(4)
    crops = rng.integers(0, 256, (3, HIGH, WIDE, 3), dtype=np.uint8)
    if mean == "image":
        mean = rng.uniform(0, 255, (HIGH, WIDE, 3)).astype(np.float32)
    model, weights = network(channels_last)
    before = model.SerializeToString()
    image = ImageInput("x", None, HIGH, WIDE, channels_last, np.dtype(np.float32))
    whole = whole_graph(
        model,
        image,
        "y",
        size=(HIGH, WIDE),
        dim=DIM,
        mean=mean,
        scale=scale,
        channel_order=order,
        mirror=mirror,
    )
    onnx.checker.check_model(whole, full_check=True)
    assert model.SerializeToString() == before
    evaluator = ReferenceEvaluator(whole)
    for count in (1, 3):
        [found] = evaluator.run(None, {"crops": crops[:count]})
        assert found.dtype == np.float32
        for features, crop in zip(found, crops[:count], strict=True):
            facts = (weights, mean, scale, order, channels_last)
            own, other = by_hand(crop, *facts), by_hand(crop[:, ::-1], *facts)
            expected = {
                "none": own,
                "sum": own + other,
                "concat": np.concatenate([own, other]),
            }[mirror]
            scale_of_all = np.abs(expected).max()
            np.testing.assert_allclose(features, expected, atol=1e-4 * scale_of_all)


@pytest.mark.parametrize("name", ["crops", "features", "facever_cast_1"])
def test_a_network_may_have_our_names(name: str) -> None:
    model, weights = network(channels_last=True)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, each in enumerate(names):
                names[place] = {"flat": name}.get(each, each)
    whole = wrapped(model, channels_last=True, mirror="concat")
    onnx.checker.check_model(whole, full_check=True)
    crops = np.full((2, HIGH, WIDE, 3), 3, np.uint8)
    [found] = ReferenceEvaluator(whole).run(None, {"crops": crops})
    expected = np.tile(3 * weights.sum(axis=0), (2, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_operators_of_before_are_brought_up_to_date() -> None:
    model, weights = network(False, opset=9)
    whole = wrapped(model, channels_last=False, mirror="sum")
    crops = np.full((1, HIGH, WIDE, 3), 7, np.uint8)
    [found] = ReferenceEvaluator(whole).run(None, {"crops": crops})
    np.testing.assert_allclose(found[0], 2 * 7 * weights.sum(axis=0), rtol=1e-4)
    kinds = {node.op_type for node in whole.graph.node if not is_ours(node.name)}
    assert kinds == {"Flatten", "MatMul"}


class TestLayersKeptInFloat:
    """The search alone: what each layer costs is known, and costs add up."""

    COST: ClassVar = {"a": 0.001, "b": 0.2, "c": 0.002, "d": 0.05, "e": 0.0, "f": 0.001}

    def search(self, bound: float) -> tuple[list[str], int]:
        tried: list[list[str]] = []

        def attempt(kept: list[str]) -> tuple[onnx.ModelProto, float]:
            tried.append(list(kept))
            lost = sum(cost for name, cost in self.COST.items() if name not in kept)
            return onnx.ModelProto(), 1 - lost

        found = _search(list(self.COST), attempt, bound)
        return found.kept_in_float, len(tried)

    def test_none_where_all_can_be_whole_numbers(self) -> None:
        assert self.search(0.7) == ([], 1)

    def test_the_worst_first(self) -> None:
        assert self.search(0.94)[0] == ["b"]
        assert self.search(0.99)[0] == ["b", "d"]

    def test_as_many_as_it_takes(self) -> None:
        kept, _ = self.search(0.997)
        assert kept[:3] == ["b", "d", "c"]
        assert len(kept) == 4

    def test_the_best_that_there_is_where_nothing_is_enough(self) -> None:
        kept, num_tried = self.search(1.1)
        assert kept == ["b", "d", "c", *sorted(kept[3:])]
        assert num_tried == 1 + 6 + 3


def test_openvinos_files_cannot_be_exported(tmp_path: Path) -> None:
    from facever.inference.backends.runtime_network import RuntimeNetwork
    from facever.inference.exporting import network_graph
    from facever.inference.header import ModelHeader
    from facever.inference.model import LoadedModel

    image = ImageInput("x", None, 112, 96, False, np.dtype(np.float32))
    output = Port("y", (None, 3), "FLOAT")
    network = RuntimeNetwork(tmp_path / "n.xml", image, output, {})
    with pytest.raises(ModelFileError, match=r"n\.xml is OpenVINO's; export its"):
        network_graph(LoadedModel(network, ModelHeader("n", {}, 3), ""))
