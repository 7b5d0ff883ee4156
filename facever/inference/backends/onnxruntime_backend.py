"""ONNX graphs, computed by onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime

from facever.inference.backends.runtime_network import RunningGraph
from facever.inference.formats.foreign import runtime_error
from facever.runtimes import num_threads

_ERRORS_ONLY = 3


def start(
    path: Path, graph: bytes, output: str, batch_size: int | None, device: str
) -> RunningGraph:
    """Load a graph.

    Args:
        path: Its file, for messages.
        graph: An ONNX model with one input.
        output: Name of the output to compute.
        batch_size: Images that it takes at a time; None for any number.
        device: On a GPU it computes where onnxruntime is made for that.

    Raises:
        ModelFileError: If onnxruntime cannot compute it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = num_threads()
    # Threads that wait by counting take the processor from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"]
    gpu = "CUDAExecutionProvider"
    on_gpu = device != "cpu" and gpu in onnxruntime.get_available_providers()
    if on_gpu:
        providers.insert(0, gpu)
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        raise runtime_error(path, "onnxruntime", error) from None
    [image] = session.get_inputs()

    def run(images: np.ndarray) -> np.ndarray:
        try:
            [features] = session.run([output], {image.name: images})
        except Exception as error:
            raise runtime_error(path, "onnxruntime", error) from None
        return np.asarray(features)

    return RunningGraph(run, batch_size, device if on_gpu else "cpu")
