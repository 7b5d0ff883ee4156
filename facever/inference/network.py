"""A network in memory, whatever computes it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from facever.choices import Backend, Precision
from facever.inference.header import ModelHeader

Compute = Callable[
    [UInt8[np.ndarray, "crops high wide 3"], bool],
    Float32[np.ndarray, "views crops dim"],
]
"""From RGB crops to their features, and to those of their mirror images if asked."""


@dataclass(frozen=True)
class StartedNetwork:
    """A network that is ready to compute.

    Attributes:
        compute: Gets crops, and whether their mirror images are wanted, too.
        backend: What computes: ``torch``, ``onnxruntime`` or ``openvino``.
        device: Where, by torch's name.
        precision: The numbers it computes with: ``fp32``, ``bf16``, or what an exported
            file holds.
    """

    compute: Compute
    backend: Backend
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend}, {self.precision}, {self.device}"


class Network(ABC):
    """A network in memory."""

    @abstractmethod
    def start(
        self, header: ModelHeader, device: str, precision: Precision, backend: Backend
    ) -> StartedNetwork:
        """Get ready to compute.

        Args:
            header: Says how the network takes its crops.
            device: ``auto``, ``cpu``, ``cuda``...
            precision: ``auto``: bf16 where the device has units for it, and where that
                is known to give the same.
            backend: ``auto``: the fastest that is installed and known to give the same.

        Raises:
            ParameterError: If the device is not there, or the backend cannot compute
                this network, or not with such numbers.
            ModelFileError: If the backend is not installed, or fails.
        """
