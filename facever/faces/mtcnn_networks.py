"""The three networks of MTCNN, with the weights that facenet-pytorch brings.

They are layers and arrays, which each of ``facever.faces.mtcnn_backends`` computes in
its own way. Neither facenet-pytorch nor torch is imported: the import of either takes
longer than finding the faces of a photo.

References:
    Zhang et al., Joint face detection and alignment using multi-task cascaded
    convolutional networks, 2016, figure 2.
"""

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32


class Convolution(NamedTuple):
    """A convolution of stride 1 without padding, and what is added to each channel."""

    weight: Float32[np.ndarray, "outputs inputs high wide"]
    bias: Float32[np.ndarray, " outputs"]


class Prelu(NamedTuple):
    """Multiplies what is below zero by the slope of its channel."""

    slope: Float32[np.ndarray, " channels"]


class Pool(NamedTuple):
    """The largest value in squares of this side, every 2 pixels.

    Squares at the right and the lower border may reach over it.
    """

    side: int


class Dense(NamedTuple):
    """A matrix product; an image is one vector first, a channel after the other."""

    weight: Float32[np.ndarray, "outputs inputs"]
    bias: Float32[np.ndarray, " outputs"]


Layer = Convolution | Prelu | Pool | Dense


class CascadeNetwork(NamedTuple):
    """A stage of the cascade, from pixels in [-1, 1] to numbers about a window.

    The numbers are, in this order, how likely the window shows a face, before the
    logistic function; 4 moves of its edges; and in the third stage 5 x and 5 y.

    Attributes:
        layers: One after the other.
        side: Pixels of a side of its images; None where it takes images of any
            size and looks at all windows in them.
        batch: Number of images of that side that are taken at a time: as many as
            leave their values in a CPU's caches.
    """

    layers: tuple[Layer, ...]
    side: int | None = None
    batch: int | None = None


def proposal_network() -> CascadeNetwork:
    """Stage 1, over whole photos: all windows of 12x12 pixels, at a stride of 2."""
    names = ("conv1", "prelu1", 2, "conv2", "prelu2", "conv3", "prelu3")
    return CascadeNetwork(_layers("pnet.pt", names, ("conv4_1", "conv4_2")))


def refining_network() -> CascadeNetwork:
    """Stage 2, over windows of 24x24 pixels."""
    names = (
        *("conv1", "prelu1", 3, "conv2", "prelu2", 3, "conv3", "prelu3"),
        *("dense4", "prelu4"),
    )
    layers = _layers("rnet.pt", names, ("dense5_1", "dense5_2"))
    return CascadeNetwork(layers, side=24, batch=32)


def output_network() -> CascadeNetwork:
    """Stage 3, over windows of 48x48 pixels."""
    names = (
        *("conv1", "prelu1", 3, "conv2", "prelu2", 3, "conv3", "prelu3", 2),
        *("conv4", "prelu4", "dense5", "prelu5"),
    )
    layers = _layers("onet.pt", names, ("dense6_1", "dense6_2", "dense6_3"))
    return CascadeNetwork(layers, side=48, batch=16)


def _layers(
    file: str, names: Sequence[str | int], outputs: Sequence[str]
) -> tuple[Layer, ...]:
    """Layers by their names in a file; a number is a pool of that side.

    Args:
        file: The weights' file in facenet-pytorch.
        names: In their order.
        outputs: Layers that all read what the last one gives, the classes first.
    """
    with (_folder() / file).open("rb") as opened:
        saved = _read_state_dict(opened)
    layers: list[Layer] = []
    channels = 3
    for name in names:
        if isinstance(name, int):
            layers.append(Pool(name))
            continue
        weight = saved[f"{name}.weight"]
        if name.startswith("prelu"):
            layers.append(Prelu(weight))
        elif name.startswith("conv"):
            layers.append(Convolution(weight, saved[f"{name}.bias"]))
            channels = len(weight)
        else:
            # Caffe makes one vector of an image column by column: here it is by
            # channel and row. After both networks' last convolution 3x3 are left.
            by_column = weight.reshape(-1, 3, 3, channels)
            by_channel = by_column.transpose(0, 3, 2, 1).reshape(weight.shape)
            layers.append(Dense(by_channel, saved[f"{name}.bias"]))
    # One layer for all outputs, and of the two classes, none and face, the difference:
    # the logistic function of it is the second of both by softmax.
    weight = np.concatenate([saved[f"{name}.weight"] for name in outputs])
    bias = np.concatenate([saved[f"{name}.bias"] for name in outputs])
    weight[1] -= weight[0]
    bias[1] -= bias[0]
    make = Convolution if weight.ndim == 4 else Dense
    return (*layers, make(weight[1:], bias[1:]))


def _folder() -> Path:
    package = find_spec("facenet_pytorch")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "data"


def _read_state_dict(file: BinaryIO) -> dict[str, Float32[np.ndarray, "..."]]:
    """The arrays in a file as ``torch.save`` wrote them before version 1.6.

    It is five pickles (a magic number, the version, facts of the machine, the state
    dict, the names of the storages), and then each storage: its length as int64, and
    its numbers.
    """
    for _ in range(3):
        _Unpickler(file).load()
    views = _Unpickler(file).load()
    storages = {}
    for name in _Unpickler(file).load():
        (length,) = np.frombuffer(file.read(8), "<i8")
        storages[name] = file.read(4 * int(length))
    return {
        name: np.ascontiguousarray(
            np.ndarray(
                view.shape,
                "<f4",
                storages[view.storage],
                4 * view.offset,
                [4 * step for step in view.steps],
            )
        )
        for name, view in views.items()
    }


class _View(NamedTuple):
    """An array in a storage; offset and steps are in numbers."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows no more than what stands in such a file of float32."""

    def find_class(self, module: str, name: str) -> Any:
        return {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "FloatStorage"): None,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *saved: _View(*saved[:4]),
        }[module, name]

    def persistent_load(self, saved: Any) -> str:
        _, _, name, *_ = saved
        return str(name)
