"""The networks of MTCNN in torch, on any of its devices."""

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from facever.faces.mtcnn_networks import (
    CascadeNetwork,
    Convolution,
    Dense,
    Layer,
    Pool,
    Prelu,
)


def start(
    network: CascadeNetwork, device: str
) -> Callable[
    [Float32[np.ndarray, "images 3 height width"]], Float32[np.ndarray, "images ..."]
]:
    """See ``facever.faces.mtcnn_backends``."""
    layers = [_on_device(layer, torch.device(device)) for layer in network.layers]

    @torch.inference_mode()
    def run(
        images: Float32[np.ndarray, "images 3 height width"],
    ) -> Float32[np.ndarray, "images ..."]:
        values = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        # TF32 would move landmarks by a hundredth of a pixel.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for layer in layers:
                values = layer(values)
        return values.cpu().numpy()

    return run


def _on_device(layer: Layer, device: torch.device) -> Callable[[Tensor], Tensor]:
    def place(array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=device)

    match layer:
        case Convolution():
            weight, bias = map(place, layer)
            weight = weight.contiguous(memory_format=torch.channels_last)
            return lambda values: functional.conv2d(values, weight, bias)
        case Prelu():
            slope = place(layer.slope)
            return lambda values: functional.prelu(values, slope)
        case Pool(side):
            return lambda values: functional.max_pool2d(values, side, 2, ceil_mode=True)
        case Dense():
            weight, bias = map(place, layer)
            return lambda values: functional.linear(values.flatten(1), weight, bias)
        case _:
            assert_never(layer)
