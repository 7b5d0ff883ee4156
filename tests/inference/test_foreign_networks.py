"""Networks of other projects: run by their runtimes, with a header of ours."""

import dataclasses
import os

import numpy as np
import onnx
import openvino
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from facever.errors import ModelFileError, ParameterError
from facever.faces.templates import TEMPLATES
from facever.inference.backends.runtime_network import RuntimeNetwork
from facever.inference.embedder import load
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.model_file import (
    copy_foreign,
    load_model,
    open_foreign,
    write_header,
)

SQUARE = TEMPLATES["112x112"]


def header_of(template=SQUARE, **changes):
    facts = {"mean": 127.5, "scale": 127.5, "mirror": "none", "embedding_size": 8}
    return ModelHeader(
        network="blocks",
        network_options={},
        **(crop_fields(template) | facts | changes),
    )


def crops_of(count=5, template=SQUARE, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *template.shape), dtype=np.uint8)


@pytest.fixture
def make(tmp_path, onnx_networks):
    """Write a network and then its copy with a header, as the path of the copy."""

    def write(header=None, suffix=".onnx", **options):
        source = onnx_networks.write_network(tmp_path / "network.onnx", **options)
        if suffix == ".xml":
            model = openvino.convert_model(source)
            source = source.with_suffix(".xml")
            openvino.save_model(model, source, compress_to_fp16=False)
        out = tmp_path / f"model{suffix}"
        copy_foreign(source, out, header or header_of())
        return out

    return write


def embed(path, crops, precision="fp32"):
    return load(path, "cpu", precision).embed_crops(crops, batch_size=3)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 1},
        {"batch": 4},
        {"channels_last": True},
        {"normalises": True},
        {"norm_output": True},
    ],
    ids=str,
)
def test_embeddings_are_those_of_numpy(make, onnx_networks, suffix, options):
    header = header_of()
    if "normalises" in options:
        header = header_of(mean=0.0, scale=1.0)
    crops = crops_of()
    found = embed(make(header, suffix, **options), crops)
    np.testing.assert_allclose(found, onnx_networks.expected(crops), atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"listed_weights": True},
        {"listed_weights": True, "ir_version": 3},
        {"dead_input": True},
        {"outside": True},
    ],
)
def test_files_as_they_are_about(make, onnx_networks, options):
    crops = crops_of()
    found = embed(make(**options), crops)
    np.testing.assert_allclose(found, onnx_networks.expected(crops), atol=2e-4)


def test_half_precision_and_compressed_weights_change_little(make, onnx_networks):
    crops = crops_of()
    right = onnx_networks.expected(crops)
    for options in ({"half": True}, {"compressed": True, "listed_weights": True}):
        found = embed(make(**options), crops)
        cosines = (found * right).sum(1) / (
            np.linalg.norm(found, axis=1) * np.linalg.norm(right, axis=1)
        )
        assert cosines.min() > 0.999
        assert not np.array_equal(found, right)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_header_decides_colours_scale_and_mirror(make, onnx_networks, suffix):
    mean, scale = [120.0, 110.0, 100.0], [50.0, 60.0, 70.0]
    crops = crops_of()
    plain = onnx_networks.expected(crops, mean, scale, bgr=True)
    mirrored = onnx_networks.expected(crops[:, :, ::-1], mean, scale, bgr=True)
    header = header_of(mean=mean, scale=scale, channel_order="BGR")
    for mirror, right in (
        ("none", plain),
        ("sum", plain + mirrored),
        ("concat", np.concatenate([plain, mirrored], axis=1)),
    ):
        path = make(dataclasses.replace(header, mirror=mirror), suffix)
        np.testing.assert_allclose(embed(path, crops), right, atol=5e-4)


def test_free_sizes_take_the_template_of_the_header(make, onnx_networks):
    # Blocks of 16 pixels: 7 x 6 of them do not fit the weights of 7 x 7.
    with pytest.raises(ModelFileError, match="cannot be run by onnxruntime"):
        load_model(make(header_of(TEMPLATES["112x96"]), size=(None, None)))
    crops = crops_of(2)
    found = embed(make(size=(None, None)), crops)
    np.testing.assert_allclose(found, onnx_networks.expected(crops), atol=2e-4)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_threshold_changes_the_header_and_not_the_fingerprint(make, suffix):
    path = make(None, suffix)
    before = load_model(path)
    crops = crops_of()
    embeddings = embed(path, crops)
    changed = dataclasses.replace(
        before.header, threshold=0.25, threshold_far=1e-3, thresholds=[(1e-3, 0.25)]
    )
    write_header(path, changed)
    after = load_model(path)
    assert after.header == changed
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(embed(path, crops), embeddings)
    write_header(path, dataclasses.replace(changed, mean=0.0))
    assert load_model(path).fingerprint != before.fingerprint


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_other_weights_have_another_fingerprint(make, onnx_networks, suffix):
    first = load_model(make(None, suffix)).fingerprint
    assert load_model(make(None, suffix)).fingerprint == first
    onnx_networks.WEIGHTS[0, 0] += 1
    try:
        assert load_model(make(None, suffix)).fingerprint != first
    finally:
        onnx_networks.WEIGHTS[0, 0] -= 1


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize(
    ("header", "words"),
    [
        (header_of(embedding_size=16), "embedding_size is 16 there, 8 in the network"),
        (header_of(TEMPLATES["112x96"]), "takes 112x112 pixels"),
        (header_of(mean="image"), "the file carries none"),
        (header_of(mean=[1.0, 2.0]), "one number or three"),
    ],
    ids=range(4),
)
def test_a_header_that_contradicts_the_network(make, suffix, header, words):
    path = make(header, suffix)
    with pytest.raises(ModelFileError, match=words) as refusal:
        load_model(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_header_out_of_range_is_not_written(make, suffix):
    with pytest.raises(
        ParameterError, match=r"model's scale: input .* greater than .* got 0\.0"
    ):
        make(header_of(scale=0.0), suffix)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_flipped_bit_of_header_or_weights_is_refused(make, onnx_networks, suffix):
    path = make(header_of(), suffix)
    fingerprint = load_model(path).fingerprint
    weights = path if suffix == ".onnx" else path.with_suffix(".bin")
    numbers = onnx_networks.WEIGHTS.tobytes()
    for file, part in [(path, b"112"), (path, b"RGB"), (weights, numbers[:4])]:
        content = file.read_bytes()
        assert part in content
        damaged = bytearray(content)
        damaged[content.index(part) + len(part) - 1] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(ModelFileError) as refusal:
            load_model(path)
        assert "\n" not in str(refusal.value)
        file.write_bytes(content)
    assert load_model(path).fingerprint == fingerprint


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(make, onnx_networks, suffix, value):
    before = onnx_networks.WEIGHTS[0, 0].copy()
    onnx_networks.WEIGHTS[0, 0] = value
    try:
        path = make(header_of(), suffix)
    finally:
        onnx_networks.WEIGHTS[0, 0] = before
    with pytest.raises(ModelFileError, match="holds numbers that are not finite"):
        load_model(path)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_size_that_the_file_states_is_not_computed(make, suffix, monkeypatch):
    def refuse(*size):
        raise AssertionError

    monkeypatch.setattr(RuntimeNetwork, "embedding_size", refuse)
    load_model(make(None, suffix))
    with pytest.raises(AssertionError):
        load_model(make(size=(None, None)))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_gives_another_size_than_it_states(make, backend):
    path = make(header_of(embedding_size=16))
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 16
    onnx.save(model, path)
    copy_foreign(path, path, header_of(embedding_size=16))
    with pytest.raises(ModelFileError, match=r"8 numbers for a crop.* says 16"):
        load(path, backend=backend).embed_crops(crops_of())
    # What facever model import finds out counts, not what the file states.
    copy_foreign(path, path, header_of())
    assert load(path, backend=backend).embed_crops(crops_of()).shape == (5, 8)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("mixing", ["Softmax over the batch", "Reshape to the batch"])
def test_what_is_made_for_a_fixed_number_of_images_gets_that(make, mixing, backend):
    """Oracle: the reference evaluator of ONNX, two crops at a time."""
    path = make(header_of(), batch=2)
    model = onnx.load(path)
    model.graph.output[0].name = "z"
    if mixing == "Softmax over the batch":
        model.graph.node.append(helper.make_node("Softmax", ["y"], ["z"], axis=0))
    else:
        shape = numpy_helper.from_array(np.array([2, -1]), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.append(helper.make_node("Reshape", ["y", "shape"], ["z"]))
    onnx.save(model, path)
    copy_foreign(path, path, header_of())
    crops = crops_of(6)
    images = ((crops - 127.5) / 127.5).astype(np.float32).transpose(0, 3, 1, 2)
    evaluator = ReferenceEvaluator(model)
    right = [evaluator.run(None, {"x": images[at : at + 2]})[0] for at in (0, 2, 4)]
    found = load(path, "cpu", "fp32", backend=backend).embed_crops(crops)
    np.testing.assert_allclose(found, np.concatenate(right), atol=2e-4)


def message_of(path, output=None):
    with pytest.raises(ModelFileError) as refusal:
        open_foreign(path, output).network.embedding_size(112, 112)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


class TestFilesThatAreRefused:
    def change(self, path, change):
        model = onnx.load(path)
        change(model.graph)
        onnx.save(model, path)
        return path

    @pytest.fixture
    def network(self, tmp_path, onnx_networks):
        return onnx_networks.write_network(tmp_path / "network.onnx")

    def test_no_header(self, network):
        with pytest.raises(ModelFileError, match=r"facever model import .* --preset"):
            load_model(network)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 99, b"\x08\x07"])
    @pytest.mark.parametrize("suffix", [".onnx", ".xml"])
    def test_no_network(self, tmp_path, suffix, content):
        path = tmp_path / f"wrong{suffix}"
        path.write_bytes(content)
        path.with_suffix(".bin").touch()
        message_of(path)

    @pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
    def test_truncated(self, network, share):
        content = network.read_bytes()
        network.write_bytes(content[: int(share * len(content))])
        message_of(network)

    def test_two_inputs(self, network):
        def change(graph):
            graph.input.append(helper.make_tensor_value_info("second", 1, [1, 8]))
            graph.node.append(helper.make_node("Add", ["y", "second"], ["z"]))
            graph.output[0].name = "z"

        assert "has 2 inputs" in message_of(self.change(network, change))

    def test_no_image(self, network):
        def change(graph):
            graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1

        assert "no images of three colours" in message_of(self.change(network, change))

    def test_no_vector(self, network):
        def change(graph):
            graph.output[0].name = "p"
            shape = graph.output[0].type.tensor_type.shape
            shape.dim[1].dim_value = 3
            for _ in range(2):
                shape.dim.add().dim_value = 7

        assert "gives no embedding" in message_of(self.change(network, change))

    def test_several_vectors(self, network):
        def change(graph):
            graph.output.append(helper.make_tensor_value_info("f", 1, ["N", 147]))

        assert "--output NAME" in message_of(self.change(network, change))
        assert open_foreign(network, "f").network.embedding_size(112, 112) == 147
        assert "no output 'g'" in message_of(network, "g")

    def test_an_operator_that_nobody_knows(self, tmp_path, onnx_networks):
        path = onnx_networks.write_network(tmp_path / "own.onnx", domain="my.domain")
        assert "cannot be run by onnxruntime" in message_of(path)

    def test_weights_outside_of_the_folder(self, tmp_path, onnx_networks):
        folder = tmp_path / "folder"
        folder.mkdir()
        path = onnx_networks.write_network(folder / "network.onnx", outside=True)
        weights = folder / "network.weights"
        assert open_foreign(path).network.embedding_size(112, 112) == 8
        weights.rename(tmp_path / "elsewhere")
        assert "is no file of its folder" in message_of(path)
        for place in ("../elsewhere", str(tmp_path / "elsewhere"), ""):
            model = onnx.load(path, load_external_data=False)
            [fact] = [
                fact
                for fact in model.graph.initializer[0].external_data
                if fact.key == "location"
            ]
            fact.value = place
            path.write_bytes(model.SerializeToString())
            assert "is no file of its folder" in message_of(path)
        os.symlink(tmp_path / "elsewhere", weights)
        fact.value = "network.weights"
        path.write_bytes(model.SerializeToString())
        assert "is no file of its folder" in message_of(path)

    def test_a_file_that_would_fill_the_memory(self, network):
        def change(graph):
            size = onnx.numpy_helper.from_array(np.array([2**17, 2**17]), "size")
            graph.initializer.append(size)
            graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["zeros"]))
            graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["total"]))
            graph.node.append(helper.make_node("Add", ["y", "total"], ["z"]))
            graph.output[0].name = "z"

        assert "17,179,869,184 numbers" in message_of(self.change(network, change))

    def test_openvino_without_weights(self, make):
        path = make(None, ".xml")
        path.with_suffix(".bin").unlink()
        assert "copy both" in message_of(path)

    def test_openvino_with_short_weights(self, make):
        path = make(None, ".xml")
        weights = path.with_suffix(".bin")
        weights.write_bytes(weights.read_bytes()[:-100])
        assert "cannot be run by OpenVINO" in message_of(path)

    def test_xml_that_declares(self, make):
        path = make(None, ".xml")
        declared = '<!DOCTYPE net [<!ENTITY a "a">]>'
        text = path.read_text()
        start, _, rest = text.partition("<net")
        path.write_text(f"{start}{declared}<net{rest}")
        with pytest.raises(ModelFileError, match="DOCTYPE"):
            load_model(path)


def test_a_network_that_cannot_be_trained_on_says_so(make):
    from facever.models import build_network
    from facever.training.fine_tuning import start_from

    network = build_network("resnet27", {"width": 1 / 16, "embedding_size": 16})
    with pytest.raises(ModelFileError, match="run but not trained"):
        start_from(network, make())
