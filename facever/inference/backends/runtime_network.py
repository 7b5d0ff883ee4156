"""A network that onnxruntime or OpenVINO computes; it cannot be trained here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from facever.choices import Backend, ChannelOrder, Precision
from facever.errors import DataError, ModelFileError, ParameterError
from facever.hardware import device_name, uses_bf16
from facever.inference.formats.ports import ImageInput, Port
from facever.inference.header import ModelHeader, Numbers, Parity
from facever.inference.network import Network, StartedNetwork
from facever.runtimes import RUNTIMES, check_backend, is_installed

Run = Callable[[np.ndarray], np.ndarray]
"""From images as the network takes them to what it gives."""


@dataclass(frozen=True)
class RunningGraph:
    """A network that a runtime has loaded.

    Attributes:
        run: Computes a batch.
        batch_size: Images that it takes at a time; None for any number.
        device: Where it computes.
    """

    run: Run
    batch_size: int | None
    device: str = "cpu"


Start = Callable[[str, bool], RunningGraph]
"""Gets a device and whether to compute in bfloat16."""

Pixels = (
    Float32[np.ndarray, "images height width 3"]
    | UInt8[np.ndarray, "images height width 3"]
)
Forward = Callable[[Pixels], Float32[np.ndarray, "images dim"]]


@dataclass(frozen=True)
class RuntimeNetwork(Network):
    """A network that a runtime computes.

    Attributes:
        path: The file, for messages.
        image: What it takes.
        output: What it gives.
        starts: How each backend that can compute it loads it; the first is the one that
            the format is made for.
        read_graph: Gives its ONNX graph; None if it came otherwise.
    """

    path: Path
    image: ImageInput
    output: Port
    starts: Mapping[Backend, Start]
    read_graph: Callable[[], Any] | None = None

    def start(
        self, header: ModelHeader, device: str, precision: Precision, backend: Backend
    ) -> StartedNetwork:
        """Get ready to compute; see ``Network.start``."""
        place = device_name(device)
        chosen, bf16 = self._choose(header.parity, place, precision, backend)
        running = self.starts[chosen](place, bf16)
        forward = self._forward(running)

        def compute(
            crops: UInt8[np.ndarray, "crops high wide 3"], with_mirrored: bool
        ) -> Float32[np.ndarray, "views crops dim"]:
            views = crops
            if with_mirrored:
                views = np.concatenate([crops, crops[:, :, ::-1]])
            features = forward(
                to_pixels(views, header.mean, header.scale, header.channel_order)
            )
            if features.shape[1] != header.embedding_size:
                raise ModelFileError(
                    f"{self.path} gives {features.shape[1]} numbers for a crop, and "
                    f"its header says {header.embedding_size}; write the header anew "
                    "with facever model import"
                )
            return features.reshape(1 + with_mirrored, len(crops), -1)

        numbers = "bf16" if bf16 else header.precision
        return StartedNetwork(compute, chosen, running.device, numbers)

    def forward(self, device: str = "cpu") -> Forward:
        """From pixels to features, by the backend that the format is made for."""
        return self._forward(self.starts[self._native](device_name(device), False))

    @property
    def stated_size(self) -> int | None:
        """How many numbers its file says that it gives; None if that has to be seen.

        So it is of a network for images of any size: it may not take every size.
        """
        image = self.image
        return self.output.numbers_each if image.height and image.width else None

    def embedding_size(self, height: int, width: int) -> int:
        """How many numbers it gives for an image of this size, in pixels, computed.

        Raises:
            DataError: If it gives anything but a vector of finite numbers.
        """
        features = self.forward()(np.zeros((1, height, width, 3), np.float32))
        if not np.isfinite(features).all():
            raise DataError("for a black image the network gives no finite numbers")
        return int(features.shape[1])

    @property
    def _native(self) -> Backend:
        return next(iter(self.starts))

    def _choose(
        self,
        parity: list[Parity],
        device: str,
        precision: Precision,
        backend: Backend,
    ) -> tuple[Backend, bool]:
        """The backend, and whether it computes in bfloat16."""
        proven = {(each.backend, each.precision) for each in parity if each.holds}
        if backend == "auto":
            backend = self._choose_backend(proven, device, precision)
        check_backend(backend)
        if backend not in self.starts:
            raise ParameterError(
                f"backend must be one of {', '.join(self.starts)} for {self.path}, got "
                f"{backend!r}"
            )
        if precision == "bf16" and backend != "openvino":
            raise ParameterError(
                f"precision must be auto or fp32 for {self.path} on {backend}, which "
                "computes with the numbers of the file; openvino can compute in bf16"
            )
        bf16 = uses_bf16(precision, "cpu")
        return backend, bf16 and (precision == "bf16" or (backend, "bf16") in proven)

    def _choose_backend(
        self, proven: set[tuple[Backend, Numbers]], device: str, precision: Precision
    ) -> Backend:
        if precision == "bf16" and "openvino" in self.starts:
            return "openvino"
        if device != "cpu":
            return self._native
        usable = {each for each, numbers in proven if precision in ("auto", numbers)}
        for each in RUNTIMES:
            if each in self.starts and each in usable and is_installed(each):
                return each
        return self._native

    def _forward(self, running: RunningGraph) -> Forward:
        image = self.image

        def forward(pixels: Pixels) -> Float32[np.ndarray, "images dim"]:
            given = pixels if image.channels_last else pixels.transpose(0, 3, 1, 2)
            given = np.ascontiguousarray(given, image.numbers)
            size = running.batch_size or len(given)
            parts = []
            for first in range(0, len(given), size):
                batch = given[first : first + size]
                # What takes a fixed number of images gets the last filled up.
                missing = [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)]
                filled = np.pad(batch, missing) if len(batch) < size else batch
                parts.append(_vectors(running.run(filled), size)[: len(batch)])
            return np.concatenate(parts)

        return forward


def to_pixels(
    crops: UInt8[np.ndarray, "crops height width 3"],
    mean: float | list[float] | str,
    scale: float | list[float],
    channel_order: ChannelOrder,
) -> Pixels:
    """``(pixel - mean) / scale`` without torch; see ``Preprocessing``.

    Returns:
        The crops as they are, if a network takes them so.
    """
    pixels: Pixels = crops
    if mean != 0 or scale != 1:
        pixels = crops.astype(np.float32)
        pixels -= np.asarray(mean, np.float32)
        pixels /= np.asarray(scale, np.float32)
    return pixels[..., ::-1] if channel_order == "BGR" else pixels


def _vectors(output: np.ndarray, size: int) -> Float32[np.ndarray, "images dim"]:
    longest = max(output.shape[1:], default=0)
    if len(output) != size or output.size != size * longest:
        raise DataError(
            f"for {size} images the network gives {list(output.shape)} numbers, not a "
            "vector for each"
        )
    return np.asarray(output.reshape(size, -1), np.float32)
