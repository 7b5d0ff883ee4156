"""A network of facever's own, computed by torch as fast as it goes."""

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from facever.choices import Backend, Precision
from facever.hardware import pick_device, precision_name, uses_bf16
from facever.inference.header import ModelHeader
from facever.inference.network import Network, StartedNetwork
from facever.inference.preprocessing import Preprocessing

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class TorchNetwork(Network):
    """A module, and how it takes its crops.

    Attributes:
        module: In evaluation mode, on the CPU.
        preprocessing: From crops to its input.
    """

    module: nn.Module
    preprocessing: Preprocessing

    def start(
        self, header: ModelHeader, device: str, precision: Precision, backend: Backend
    ) -> StartedNetwork:
        """Get ready to compute; by another backend than torch, a copy is exported.

        Raises:
            ParameterError: If the device is not there.
            ModelFileError: If the backend is not installed, or gives something else.
        """
        if backend in ("onnxruntime", "openvino"):
            from facever.inference.exporting import start_elsewhere
            from facever.inference.model import LoadedModel

            return start_elsewhere(
                LoadedModel(self, header, ""), device, precision, backend
            )
        place = pick_device(device)
        bf16 = uses_bf16(precision, str(place))
        numbers = torch.bfloat16 if bf16 else torch.float32
        size = (header.crop_height, header.crop_width)
        forward = _fast_forward(self.module, place, numbers, size)

        @torch.inference_mode()
        def compute(
            crops: UInt8[np.ndarray, "crops high wide 3"], with_mirrored: bool
        ) -> Float32[np.ndarray, "views crops dim"]:
            # A copy: torch warns of arrays that are read-only, as memory maps are.
            views = torch.from_numpy(np.array(crops, order="C")).to(place)
            if with_mirrored:
                views = torch.cat([views, views.flip(2)])
            features = forward(self.preprocessing(views).to(numbers)).float()
            return features.reshape(1 + with_mirrored, len(crops), -1).cpu().numpy()

        return StartedNetwork(compute, "torch", str(place), precision_name(bf16))


class _Tracer(fx.Tracer):
    """Follows what stands in for a tensor, which no check of shapes takes for one."""

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        unchecked = inspect.unwrap(type(m).forward)
        return super().call_module(m, partial(unchecked, m), args, kwargs)


def fold_batch_norms(module: nn.Module) -> fx.GraphModule:
    """A copy whose batch normalisation is in the weights of the layer before it.

    Where a normalisation follows no convolution and no linear layer, or that layer's
    output goes elsewhere, too, it stays. The weights are computed in float64.

    Args:
        module: In evaluation mode; it stays as it is.

    Returns:
        The same function up to rounding, in float32.
    """
    root = nn.Sequential(copy.deepcopy(module).double().eval())
    folded = fx.GraphModule(root, _Tracer().trace(root))
    parts = dict(folded.named_modules())
    for node in list(folded.graph.nodes):
        norm = parts.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, _BatchNorm):
            continue
        before = node.args[0]
        layer = parts.get(before.target) if before.op == "call_module" else None
        if not isinstance(layer, nn.Conv2d | nn.Linear) or len(before.users) > 1:
            continue
        _fold(layer, norm)
        node.replace_all_uses_with(before)
        folded.graph.erase_node(node)
    folded.recompile()
    folded.delete_all_unused_submodules()
    return folded.float()


def _fold(layer: nn.Conv2d | nn.Linear, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    fuse = (
        fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    )
    weight = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    bias = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    layer.weight, layer.bias = fuse(
        layer.weight,
        layer.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        weight,
        bias,
    )


def _fast_forward(
    module: nn.Module, place: torch.device, numbers: torch.dtype, size: tuple[int, int]
) -> Callable[[Tensor], Tensor]:
    """The network on a device, from images in ``numbers`` to features."""
    folded = fold_batch_norms(module).requires_grad_(False)
    if place.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        ordered = _in_kernel_order(folded, numbers)
        try:
            with torch.inference_mode():
                ordered(torch.zeros(1, 3, *size, dtype=numbers).to_mkldnn())
        except RuntimeError:
            pass  # It has a layer that does not exist for that order.
        else:
            return lambda images: _dense(ordered(images.contiguous().to_mkldnn()))
    _convert(folded, numbers)
    folded.to(place)
    folded.to(memory_format=torch.channels_last)
    return folded


def _in_kernel_order(module: nn.Module, numbers: torch.dtype) -> nn.Module:
    """A copy that keeps its weights in the order that the CPU's kernels take.

    So do its images between the layers; else both are put in order for every layer.
    """
    with warnings.catch_warnings():
        # Of a part of it that is written in TorchScript.
        warnings.simplefilter("ignore")
        from torch.utils.mkldnn import to_mkldnn
    ordered: nn.Module = to_mkldnn(copy.deepcopy(module), numbers)  # type: ignore[no-untyped-call]
    return ordered


def _dense(features: Tensor) -> Tensor:
    return features.to_dense() if features.is_mkldnn else features


def _convert(module: nn.Module, numbers: torch.dtype) -> None:
    """Weights in these numbers, but what is left of the normalisation in float32."""
    for part in module.modules():
        if not isinstance(part, _BatchNorm):
            for weight in part.parameters(recurse=False):
                weight.data = weight.data.to(numbers)
