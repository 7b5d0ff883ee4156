"""ONNX files, computed by onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto

from facever.inference.backends.foreign import ForeignNetwork, make_model, runtime_error
from facever.inference.backends.onnx_graph import (
    graph_constants,
    graph_digest,
    graph_inputs,
    graph_outputs,
    has_compressed_weights,
    normalises_itself,
    read_header_text,
    read_onnx,
    with_real_inputs,
    write_onnx,
)
from facever.inference.backends.ports import find_image_input, find_output
from facever.inference.backends.runtime import RuntimeNetwork
from facever.inference.header import ModelHeader, parse_header
from facever.inference.model import LoadedModel

_ERRORS_ONLY = 3


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
    image = find_image_input(path, graph_inputs(model))
    port = find_output(path, graph_outputs(model), output)

    def start(device: torch.device, bf16: bool) -> Callable[[np.ndarray], np.ndarray]:
        session = _make_session(path, model, device)

        def run(images: np.ndarray) -> np.ndarray:
            try:
                [features] = session.run([port.name], {image.name: images})
            except Exception as error:
                raise runtime_error(path, "onnxruntime", error) from None
            return np.asarray(features)

        return run

    return ForeignNetwork(
        path,
        RuntimeNetwork(image, start),
        graph_digest(model),
        normalises_itself(model, image.name),
        graph_constants(model),
    )


def _make_session(
    path: Path, model: ModelProto, device: torch.device
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by counting take the processor from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if has_compressed_weights(model):
        # Else the weights are decompressed anew for every image.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    wanted = ["CPUExecutionProvider"]
    if device.type == "cuda":
        wanted.insert(0, "CUDAExecutionProvider")
    there = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            with_real_inputs(model).SerializeToString(),
            options,
            providers=[each for each in wanted if each in there],
        )
    except Exception as error:
        raise runtime_error(path, "onnxruntime", error) from None
