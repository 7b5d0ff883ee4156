"""What computes the networks of MTCNN, and which of it is taken.

A new one is a module with a ``start``, a row in ``_MODULES``, and its name in
``facever.choices.Backend`` and ``facever.runtimes``. All of them compute in float32
and find the same faces; ``eval/reference/speed-alignment.json`` says on how many photos
that was looked at. bfloat16 would not: on 512 photos of LFW it lost 3 of 589 faces,
added 3, and moved every second face's landmarks by more than half a pixel.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final

import numpy as np
from jaxtyping import Float32

from facever.choices import Backend
from facever.faces.mtcnn_networks import CascadeNetwork
from facever.hardware import device_name
from facever.runtimes import RUNTIMES, check_backend, is_installed

Run = Callable[
    [Float32[np.ndarray, "images 3 height width"]], Float32[np.ndarray, "images ..."]
]
"""From images to the network's numbers.

For a network that looks at all windows, these are ``[images, numbers, rows, columns]``,
and otherwise ``[images, numbers]``. Images of that network's side are at most as many
as its ``batch`` at a time on a CPU.
"""

_MODULES: Final[dict[Backend, str]] = {
    "openvino": "openvino_layers",
    "onnxruntime": "onnxruntime_layers",
    "torch": "torch_layers",
}


def start(network: CascadeNetwork, backend: Backend, device: str) -> Run:
    """Get a network ready.

    Args:
        network: The network.
        backend: As ``settle`` gives it.
        device: The same.
    """
    run: Run = import_module(f"{__name__}.{_MODULES[backend]}").start(network, device)
    return run


def settle(backend: Backend, device: str) -> tuple[Backend, str]:
    """What is meant by ``auto``.

    Args:
        backend: ``auto`` is torch on other devices than the CPU, and on the CPU the
            fastest that is installed. Backends but torch run on the CPU.
        device: By torch's name, or ``auto``: a GPU that torch can use, if there is one.

    Returns:
        The backend, and a device by torch's name. Torch is imported only where it is
        chosen, or where a GPU may be there.

    Raises:
        ParameterError: If there is no such backend or device.
        ModelFileError: If the backend's package is not installed; the message says how
            it is had.
    """
    check_backend(backend)
    if backend not in ("auto", "torch"):
        return backend, "cpu"
    place = device_name(device)
    if backend == "auto" and place == "cpu":
        # On a CPU the order of the table is that of speed, for these networks, too.
        backend = next(filter(is_installed, RUNTIMES))
    return ("torch" if backend == "auto" else backend), place
