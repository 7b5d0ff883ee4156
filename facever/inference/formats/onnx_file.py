"""ONNX files that carry a header."""

from functools import cache
from pathlib import Path

from onnx import ModelProto

from facever.inference.backends.runtime_network import RunningGraph, RuntimeNetwork
from facever.inference.formats.foreign import ForeignNetwork, make_model
from facever.inference.formats.onnx_graph import (
    graph_constants,
    graph_digest,
    graph_inputs,
    graph_outputs,
    normalises_itself,
    read_header_text,
    read_onnx,
    with_plain_weights,
    with_real_inputs,
    write_onnx,
)
from facever.inference.formats.ports import find_image_input, find_output
from facever.inference.header import ModelHeader, parse_header
from facever.inference.model import LoadedModel


def load(path: Path) -> LoadedModel:
    """Read an ONNX file that carries a header.

    Raises:
        ModelFileError: If it is damaged, has no header, or the two contradict each
            other.
    """
    model = read_onnx(path)
    stored = parse_header(path, read_header_text(model))
    foreign = _open(path, model, stored.header.network_options.get("output"))
    stored.check(foreign.digest)
    return make_model(foreign, stored.header)


def write_header(path: Path, header: ModelHeader) -> None:
    """Write a file anew with another header; its network stays as it is."""
    copy_with_header(path, path, header)


def copy_with_header(source: Path, out: Path, header: ModelHeader) -> None:
    """Write a copy of a file with a header; its network stays as it is.

    Weights that lie in other files are in the copy.
    """
    write_onnx(out, read_onnx(source), header)


def open_network(path: Path, output: str | None = None) -> ForeignNetwork:
    """The network of an ONNX file, whatever its header says.

    Args:
        path: The file.
        output: Which output to take; None where there is one only.

    Raises:
        ModelFileError: If it is damaged or no network from an image to an embedding.
    """
    return _open(path, read_onnx(path), output)


def _open(path: Path, model: ModelProto, output: str | None) -> ForeignNetwork:
    network = graph_network(path, model, output)
    return ForeignNetwork(
        path,
        network,
        graph_digest(model),
        normalises_itself(model, network.image.name),
        graph_constants(model),
    )


def graph_network(
    path: Path, model: ModelProto, output: str | None = None
) -> RuntimeNetwork:
    """A graph as a network.

    Args:
        path: Its file, for messages.
        model: The graph.
        output: Which output to take; None where there is one only.

    Raises:
        ModelFileError: If it is no network from an image to an embedding.
    """
    image = find_image_input(path, graph_inputs(model))
    port = find_output(path, graph_outputs(model), output)

    def read_graph() -> ModelProto:
        return with_plain_weights(with_real_inputs(model))

    @cache
    def graph() -> bytes:
        content: bytes = read_graph().SerializeToString()
        return content

    def on_onnxruntime(device: str, bf16: bool) -> RunningGraph:
        from facever.inference.backends.onnxruntime_backend import start

        return start(path, graph(), port.name, image.batch_size, device)

    def on_openvino(device: str, bf16: bool) -> RunningGraph:
        from facever.inference.backends.openvino_backend import read_model, start

        read = read_model(path, graph())
        place = [port.name in each.get_names() for each in read.outputs].index(True)
        return start(path, read, place, bf16)

    return RuntimeNetwork(
        path,
        image,
        port,
        {"onnxruntime": on_onnxruntime, "openvino": on_openvino},
        read_graph,
    )
