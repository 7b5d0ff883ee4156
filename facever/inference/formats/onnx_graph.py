"""ONNX files: read with care, with facever's header in their metadata.

A network of another project is a file from a stranger. It is parsed, never executed as
code; weights outside the file are read from its own folder only, and nothing larger
than ``MAX_BYTES`` is loaded.

References:
    Open Neural Network Exchange, onnx.proto: ModelProto.metadata_props,
    TensorProto.external_data.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    external_data_helper,
    helper,
    numpy_helper,
)

from facever.errors import ModelFileError
from facever.files import whole_file
from facever.inference.formats.ports import Port
from facever.inference.header import HEADER_KEY, ModelHeader, header_text

MAX_BYTES = 2**31 - 1
"""What a protobuf file can hold."""

_SHIFTS_AND_SCALES = {"Sub", "Add", "Mul", "Div"}


def read_onnx(path: Path) -> ModelProto:
    """Read an ONNX file and the weights that lie beside it.

    Raises:
        ModelFileError: If it is missing, damaged, too large, or names weights outside
            its folder.
    """
    _check_size(path, path.stat().st_size)
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path} is not a whole ONNX file ({reason})") from None
    if not model.graph.node:
        raise ModelFileError(f"{path} is not an ONNX file: it holds no network")
    _check_made_arrays(path, model.graph)
    outside = [tensor for tensor in model.graph.initializer if _is_outside(tensor)]
    if outside:
        _check_outside(path, outside)
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (onnx.checker.ValidationError, ValueError, OSError) as error:
            raise ModelFileError(
                f"{path}: its weights in other files cannot be read: {error}"
            ) from None
    return model


def write_onnx(path: Path, model: ModelProto, header: ModelHeader) -> None:
    """Write an ONNX file with a header; the graph and its weights stay as they are.

    Raises:
        FileError: If it cannot be written.
    """
    kept = [each for each in model.metadata_props if each.key != HEADER_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    entry = model.metadata_props.add()
    entry.key, entry.value = HEADER_KEY, header_text(header, graph_digest(model))
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def read_header_text(model: ModelProto) -> str | None:
    """The text of facever's header; None if there is none."""
    texts = {each.key: each.value for each in model.metadata_props}
    return texts.get(HEADER_KEY)


def graph_digest(model: ModelProto) -> str:
    """SHA-256 of a network and its weights, whatever its metadata say."""
    network = ModelProto(opset_import=model.opset_import, graph=model.graph)
    return hashlib.sha256(network.SerializeToString(deterministic=True)).hexdigest()


def graph_constants(model: ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    """Names and numbers of the network's weights."""
    for each in model.graph.initializer:
        yield each.name, numpy_helper.to_array(each)


def graph_inputs(model: ModelProto) -> list[Port]:
    """What the network has to be given: its inputs that are used and no weights.

    Files of before 2019 list the weights among the inputs, and tools that rewrite
    weights leave names behind.
    """
    return [_port(each) for each in _real_inputs(model)]


def graph_outputs(model: ModelProto) -> list[Port]:
    """What the network gives."""
    return [_port(each) for each in model.graph.output]


def with_real_inputs(model: ModelProto) -> ModelProto:
    """A copy that lists as inputs only what the network has to be given.

    A runtime takes a weight that is listed for what the caller may replace, so it
    cannot compute anything beforehand; and it asks for an input that is never used.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = _real_inputs(model)
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def with_plain_weights(model: ModelProto) -> ModelProto:
    """A copy whose weights are stored as they are used, not as small integers.

    Else a runtime decompresses them anew for every image, or cannot read them at all.
    Numbers that a network itself makes small, as quantised networks do, stay small.

    References:
        Open Neural Network Exchange, operator DequantizeLinear:
        ``(x - x_zero_point) * x_scale``, of one scale, one along an axis, or one for
        each block of an axis.
    """
    plain = ModelProto()
    plain.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return plain
    del plain.graph.node[:]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and set(node.input) <= stored.keys():
            weights = _dequantise(node, [stored[name] for name in node.input])
            # Filled where it is: a message that is appended is copied.
            plain.graph.initializer.add(
                name=node.output[0],
                dims=weights.shape,
                data_type=helper.np_dtype_to_tensor_dtype(weights.dtype),
                raw_data=weights.tobytes(),
            )
        else:
            plain.graph.node.append(node)
    used = set(_names_read(plain.graph))
    for place in reversed(range(len(plain.graph.initializer))):
        if plain.graph.initializer[place].name not in used:
            del plain.graph.initializer[place]
    return plain


def _dequantise(node: NodeProto, inputs: list[TensorProto]) -> np.ndarray:
    numbers, scale, *zero = (numpy_helper.to_array(each) for each in inputs)
    facts = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    axis, block = facts.get("axis", 1) % numbers.ndim, facts.get("block_size", 0)

    def spread(values: np.ndarray) -> np.ndarray:
        if block:
            rows = np.repeat(values, block, axis)
            return rows[(*[slice(None)] * axis, slice(numbers.shape[axis]))]
        if values.size > 1:
            axes = [size if at == axis else 1 for at, size in enumerate(numbers.shape)]
            return values.reshape(axes)
        return values.reshape(())

    # In place: pages of fresh memory take longer than the arithmetic.
    weights: np.ndarray = numbers.astype(np.float32)
    if zero:
        weights -= spread(zero[0])
    weights *= spread(scale)
    return weights.astype(scale.dtype, copy=False)


def normalises_itself(model: ModelProto, image: str) -> bool:
    """Whether the first thing a network does with its image is to shift or scale it.

    Such a network takes pixels of 0 to 255, as MXNet's exports do.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    constant |= {
        name
        for node in model.graph.node
        if node.op_type == "Constant"
        for name in node.output
    }
    for node in model.graph.node:
        if image in node.input:
            others = {name for name in node.input if name != image}
            return node.op_type in _SHIFTS_AND_SCALES and others <= constant
    return False


def _real_inputs(model: ModelProto) -> list[ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    used = set(_names_read(model.graph))
    return [each for each in model.graph.input if each.name in used - weights]


def _names_read(graph: GraphProto) -> Iterator[str]:
    """What the nodes of a graph, and of the graphs inside them, read; its outputs."""
    yield from (each.name for each in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names_read(inner)


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(
        each.dim_value if each.HasField("dim_value") and each.dim_value > 0 else None
        for each in tensor.shape.dim
    )
    return Port(value.name, shape, TensorProto.DataType.Name(tensor.elem_type))


def _is_outside(tensor: TensorProto) -> bool:
    return external_data_helper.uses_external_data(tensor)


def _check_outside(path: Path, tensors: list[TensorProto]) -> None:
    folder = path.parent.resolve()
    files = set()
    for tensor in tensors:
        facts = {each.key: each.value for each in tensor.external_data}
        file = (folder / facts.get("location", "")).resolve()
        if folder not in file.parents or not file.is_file():
            raise ModelFileError(
                f"{path}: the weights {tensor.name} should lie in "
                f"{facts.get('location')!r}, which is no file of its folder; copy the "
                "files that belong together into one folder"
            )
        files.add(file)
    _check_size(path, sum(file.stat().st_size for file in files))


def _check_made_arrays(path: Path, graph: GraphProto) -> None:
    """Refuse a small file that makes an array larger than any file may be."""
    sizes = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in sizes:
            continue
        shape = sizes[node.input[0]]
        if shape.data_location == TensorProto.EXTERNAL:
            continue
        count = math.prod(int(each) for each in numpy_helper.to_array(shape))
        if count > MAX_BYTES // 4:
            raise ModelFileError(
                f"{path} makes an array of {count:,} numbers, more than a network of "
                "this kind needs"
            )


def _check_size(path: Path, num_bytes: int) -> None:
    if num_bytes > MAX_BYTES:
        raise ModelFileError(
            f"{path} has {num_bytes:,} bytes; networks of up to {MAX_BYTES:,} are read"
        )
