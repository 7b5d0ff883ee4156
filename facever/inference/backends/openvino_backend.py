"""Networks in OpenVINO's files or as ONNX graphs, computed by OpenVINO on the CPU."""

from pathlib import Path

import numpy as np
import openvino

from facever.errors import ModelFileError
from facever.inference.backends.runtime_network import RunningGraph
from facever.inference.formats.foreign import runtime_error
from facever.runtimes import num_threads, openvino_core

# Of the largest number; bfloat16 keeps 8 bits.
_ROUNDING = 0.05


def read_model(
    path: Path, content: Path | bytes, weights: Path | None = None
) -> openvino.Model:
    """Read a model.

    Args:
        path: Its file, for messages.
        content: An ``.xml``, or an ONNX model.
        weights: The ``.bin`` of an ``.xml``.

    Raises:
        ModelFileError: If OpenVINO cannot read it.
    """
    core = openvino_core()
    try:
        return (
            core.read_model(content, weights) if weights else core.read_model(content)
        )
    except RuntimeError as error:
        raise runtime_error(path, "OpenVINO", error) from None


def start(path: Path, model: openvino.Model, output: int, bf16: bool) -> RunningGraph:
    """Load a model.

    One that takes a fixed number of images takes any number then, where that gives the
    same; it is several times faster.

    Args:
        path: Its file, for messages.
        model: With one input.
        output: Place of the output to compute.
        bf16: Whether to compute in bfloat16, not in float32.

    Raises:
        ModelFileError: If OpenVINO cannot compute it.
    """
    shape = model.inputs[0].get_partial_shape()
    batch_size = None if shape[0].is_dynamic else shape[0].get_length()
    free = _free_batch(path, model, output, bf16) if shape.is_static else None
    return free or _compile(path, model, output, bf16, batch_size)


def _compile(
    path: Path,
    model: openvino.Model,
    output: int,
    bf16: bool,
    batch_size: int | None,
) -> RunningGraph:
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": num_threads(),
    }
    try:
        compiled = openvino_core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise runtime_error(path, "OpenVINO", error) from None

    def run(images: np.ndarray) -> np.ndarray:
        try:
            return np.array(compiled([images])[output])
        except RuntimeError as error:
            raise runtime_error(path, "OpenVINO", error) from None

    return RunningGraph(run, batch_size)


def _free_batch(
    path: Path, model: openvino.Model, output: int, bf16: bool
) -> RunningGraph | None:
    """The same for any number of images.

    Returns:
        None if it cannot be made so, or if two batches of the model's own size do not
        give the same together as apart.
    """
    free = model.clone()
    shape = free.inputs[0].get_partial_shape()
    size = shape[0].get_length()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2 * size, *shape.to_shape()[1:]))
    images = images.astype(np.float32)
    shape[0] = -1
    try:
        free.reshape(shape)
        running = _compile(path, free, output, bf16, None)
        apart = np.concatenate([running.run(half) for half in np.split(images, 2)])
        together = running.run(images)
    except (RuntimeError, ModelFileError):
        return None
    if together.shape != apart.shape:
        return None
    differ = np.abs(together - apart).max() > _ROUNDING * np.abs(apart).max()
    return None if differ else running
