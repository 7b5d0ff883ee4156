"""What a network of another project takes and gives, and whether facever can use it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facever.errors import MismatchError, ModelFileError
from facever.faces.templates import Template

_MOST_SHOWN = 4
_NUMBERS: dict[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "FLOAT16": np.dtype(np.float16),
    "DOUBLE": np.dtype(np.float64),
    "UINT8": np.dtype(np.uint8),
}


@dataclass(frozen=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: In the network.
        shape: Its sizes; None where any is taken.
        type: The type of the numbers, as ONNX names it, such as ``FLOAT``.
    """

    name: str
    shape: tuple[int | None, ...]
    type: str

    @property
    def numbers_each(self) -> int | None:
        """Numbers for each image, the first axis; None where any is taken."""
        sizes = [size for size in self.shape[1:] if size is not None]
        return math.prod(sizes) if len(sizes) == len(self.shape) - 1 else None

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] of {self.type}"


@dataclass(frozen=True)
class ImageInput:
    """The images that a network takes.

    Attributes:
        name: In the network.
        batch_size: Images at a time; None for any number.
        height: Pixels; None for any.
        width: Pixels; None for any.
        channels_last: Whether colours are the last axis.
        numbers: The type of the numbers.
    """

    name: str
    batch_size: int | None
    height: int | None
    width: int | None
    channels_last: bool
    numbers: np.dtype[Any]

    def check_size(self, template: Template) -> None:
        """Refuse crops of another size.

        Raises:
            MismatchError: If the network does not take crops of this template.
        """
        height, width = self.height or "any", self.width or "any"
        if height not in ("any", template.height) or width not in (
            "any",
            template.width,
        ):
            raise MismatchError(
                f"the network takes {height}x{width} pixels (height x width), crops of "
                f"the template {template.name} do not fit"
            )


def find_image_input(path: Path, inputs: Sequence[Port]) -> ImageInput:
    """The one input of a network that takes images.

    Raises:
        ModelFileError: If there are several, or it takes no images of three colours.
    """
    if len(inputs) != 1:
        listed = _list(inputs) or "none"
        raise ModelFileError(
            f"{path} is no network from one image to one embedding: it has "
            f"{len(inputs)} inputs ({listed}); export it with the image as its only "
            "input"
        )
    [port] = inputs
    if len(port.shape) != 4 or 3 not in (port.shape[1], port.shape[3]):
        raise ModelFileError(
            f"{path} takes no images of three colours: its input is {port}; expected "
            "[batch, 3, height, width] or [batch, height, width, 3]"
        )
    if port.type not in _NUMBERS:
        raise ModelFileError(
            f"{path}: its input {port} is of a type that images are not given in; "
            f"taken are {', '.join(_NUMBERS)}"
        )
    channels_last = port.shape[1] != 3
    height, width = port.shape[1:3] if channels_last else port.shape[2:]
    return ImageInput(
        port.name, port.shape[0], height, width, channels_last, _NUMBERS[port.type]
    )


def find_output(path: Path, outputs: Sequence[Port], name: str | None) -> Port:
    """The output that is the embedding.

    Args:
        path: The file, for messages.
        outputs: All outputs of the network.
        name: The one to take; None where only one can be the embedding.

    Raises:
        ModelFileError: If it is not there, or not said, or no vector for each image.
    """
    listed = _list(outputs)
    if name is not None:
        named = [port for port in outputs if port.name == name]
        if not named:
            raise ModelFileError(f"{path} has no output {name!r}; it has {listed}")
        outputs = named
    vectors = [port for port in outputs if _is_vector(port)]
    if not vectors:
        raise ModelFileError(
            f"{path} gives no embedding: its output is {listed}; expected [batch, "
            "numbers]"
        )
    if len(vectors) > 1:
        raise ModelFileError(
            f"{path} has {len(vectors)} outputs ({listed}): say which one is the "
            "embedding with --output NAME"
        )
    return vectors[0]


def _list(ports: Sequence[Port]) -> str:
    shown = [str(port) for port in ports[:_MOST_SHOWN]]
    more = len(ports) - len(shown)
    return "; ".join([*shown, f"and {more} more"] if more else shown)


def _is_vector(port: Port) -> bool:
    """Whether an output is, or may be, several numbers for each image."""
    rest = [size for size in port.shape[1:] if size != 1]
    return len(rest) == 1
