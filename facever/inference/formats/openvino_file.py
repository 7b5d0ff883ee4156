"""OpenVINO's files, an ``.xml`` and a ``.bin`` of the same name, and their runtime.

The header stands in the ``.xml``, in the model's runtime information.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino
from onnx import ModelProto

from facever.errors import ModelFileError
from facever.files import whole_file
from facever.inference.backends.openvino_backend import read_model, start
from facever.inference.backends.runtime_network import RunningGraph, RuntimeNetwork
from facever.inference.formats.foreign import ForeignNetwork, make_model
from facever.inference.formats.ports import Port, find_image_input, find_output
from facever.inference.header import (
    HEADER_KEY,
    ModelHeader,
    header_text,
    parse_header,
)
from facever.inference.model import LoadedModel

MAX_BYTES = 2**31 - 1
_FACTS = "rt_info"
_SHIFTS_AND_SCALES = {"Subtract", "Add", "Multiply", "Divide"}
_TYPES = {"f32": "FLOAT", "f16": "FLOAT16", "f64": "DOUBLE", "u8": "UINT8"}


def load(path: Path) -> LoadedModel:
    """Read an OpenVINO model that carries a header.

    Raises:
        ModelFileError: If it is damaged, has no header, or the two contradict each
            other.
    """
    stored = parse_header(path, _read_header_text(path))
    foreign = open_network(path, stored.header.network_options.get("output"))
    stored.check(foreign.digest)
    return make_model(foreign, stored.header)


def open_network(path: Path, output: str | None = None) -> ForeignNetwork:
    """The network of an OpenVINO file, whatever its header says.

    Args:
        path: The ``.xml``.
        output: Which output to take; None where there is one only.

    Raises:
        ModelFileError: If it is damaged or no network from an image to an embedding.
    """
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelFileError(
            f"{path}: its weights should lie in {weights.name} beside it; copy both"
        )
    num_bytes = path.stat().st_size + weights.stat().st_size
    if num_bytes > MAX_BYTES:
        raise ModelFileError(
            f"{path} has {num_bytes:,} bytes; networks of up to {MAX_BYTES:,} are read"
        )
    model = read_model(path, path, weights)
    image = find_image_input(path, [_port(each) for each in model.inputs])
    outputs = [_port(each) for each in model.outputs]
    port = find_output(path, outputs, output)
    place = outputs.index(port)

    def on_openvino(device: str, bf16: bool) -> RunningGraph:
        return start(path, model, place, bf16)

    return ForeignNetwork(
        path,
        RuntimeNetwork(path, image, port, {"openvino": on_openvino}),
        _digest(path),
        _normalises_itself(model),
        _constants(model),
    )


def _read_header_text(path: Path) -> str | None:
    """The text of facever's header; None if there is none."""
    entry = _parse(path).find(f"{_FACTS}/{HEADER_KEY}")
    return None if entry is None else entry.get("value")


def write_header(path: Path, header: ModelHeader) -> None:
    """Write the ``.xml`` anew with another header; all else stays as it is.

    Raises:
        FileError: If it cannot be written.
    """
    _write_xml(path, path, header)


def write_model(path: Path, graph: ModelProto, header: ModelHeader, half: bool) -> None:
    """Write an ONNX graph as OpenVINO's two files, with a header.

    Args:
        path: The ``.xml``; the ``.bin`` lies beside it.
        graph: The graph.
        header: What to say of it.
        half: Whether weights are kept in 16 bits.

    Raises:
        ModelFileError: If OpenVINO cannot read the graph.
    """
    model = read_model(path, graph.SerializeToString())
    openvino.save_model(model, path, compress_to_fp16=half)
    write_header(path, header)


def copy_with_header(source: Path, out: Path, header: ModelHeader) -> None:
    """Write a copy of both files, the ``.xml`` with a header.

    Raises:
        FileError: If they cannot be written.
    """
    with whole_file(out.with_suffix(".bin")) as temporary:
        shutil.copyfile(source.with_suffix(".bin"), temporary)
    _write_xml(source, out, header)


def _write_xml(source: Path, path: Path, header: ModelHeader) -> None:
    root = _parse(source)
    facts = root.find(_FACTS)
    if facts is None:
        facts = ElementTree.SubElement(root, _FACTS)
    entry = facts.find(HEADER_KEY)
    if entry is None:
        entry = ElementTree.SubElement(facts, HEADER_KEY)
    entry.set("value", header_text(header, _digest(source)))
    with whole_file(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, "utf-8", xml_declaration=True)


def _parse(path: Path) -> ElementTree.Element:
    content = path.read_bytes()
    # A model has no declarations; entities could blow it up.
    if b"<!DOCTYPE" in content:
        raise ModelFileError(f"{path} is not an OpenVINO model: it declares a DOCTYPE")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ModelFileError(f"{path} is not whole XML ({error})") from None
    if root.tag != "net":
        raise ModelFileError(
            f"{path} is not an OpenVINO model, but XML of <{root.tag}>"
        )
    return root


def _digest(path: Path) -> str:
    """SHA-256 of network and weights, whatever the runtime information says."""
    root = _parse(path)
    for facts in root.findall(_FACTS):
        root.remove(facts)
    for part in (root, *root.iter("layer")):
        # Names are made up anew by every conversion.
        part.attrib.pop("name", None)
    text = ElementTree.canonicalize(
        ElementTree.tostring(root, "unicode"), strip_text=True
    )
    digest = hashlib.sha256(text.encode())
    with path.with_suffix(".bin").open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _constants(model: openvino.Model) -> Iterator[tuple[str, np.ndarray]]:
    """Names and numbers of the network's weights."""
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            yield node.get_friendly_name(), np.asarray(node.data)


def _normalises_itself(model: openvino.Model) -> bool:
    """Whether the first thing a network does with its image is to shift or scale it."""
    [image] = model.inputs
    first = [target.get_node() for target in image.get_target_inputs()]
    if len(first) != 1 or first[0].get_type_name() not in _SHIFTS_AND_SCALES:
        return False
    others = [each.get_node() for each in first[0].input_values()]
    return any(each.get_type_name() == "Constant" for each in others)


def _port(node: openvino.Output) -> Port:
    shape = tuple(
        each.get_length() if each.is_static else None
        for each in node.get_partial_shape()
    )
    names = sorted(node.get_names())
    number = node.get_element_type().get_type_name()
    return Port(names[0] if names else "", shape, _TYPES.get(number, number))
