"""MobileFaceNet as three projects have it, under the names of their weights.

All of them are the paper's network: a 3x3 convolution with stride 2, a depthwise one,
three stages of bottlenecks, 512 channels, and a depthwise convolution over all places
that are left. A bottleneck widens, convolves depthwise and narrows again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from facever.errors import ParameterError
from facever.models.base import EmbeddingNetwork
from facever.models.parts import Shortcut, start_by_fan_out

# Of each stage: channels behind it, channels within its first bottleneck, which has
# stride 2, and within those that follow, and how many follow.
_STAGES = ((64, 128, 128, 4), (128, 256, 256, 6), (128, 512, 256, 2))
_LAST_CHANNELS = 512

_Parts = OrderedDict[str, nn.Module]
# Of a bottleneck: the kind of its sequence, channels before, within and behind, stride.
_Bottleneck = Callable[[type[nn.Sequential], int, int, int, int], nn.Module]


class MobileFaceNet(EmbeddingNetwork):
    """``mbf`` of InsightFace's arcface_torch, for 112x112: wider than the paper's.

    The width counts between bottlenecks; within them the channels stay the paper's. The
    second convolution has 64 groups, so it is depthwise at width 1 alone.

    Args:
        embedding_size: Number of dimensions of an embedding.
        width: Factor on the channels between bottlenecks, at least 1; arcface_torch
            calls it scale.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Chen et al., MobileFaceNets, 2018, Table 1; deepinsight/insightface,
        recognition/arcface_torch/backbones/mobilefacenet.py.
    """

    template = "112x112"
    option_weights: ClassVar = {
        "embedding_size": ("features.layers.2.weight", 1),
        "width": ("layers.0.layers.0.weight", 64),
    }

    def __init__(self, *, embedding_size: int = 512, width: int = 2) -> None:
        super().__init__(embedding_size)
        if width < 1:
            raise ParameterError(f"width must be >= 1, got {width}")
        channels = 64 * width
        layers = [
            _in_layers(_activated(3, channels, 3, stride=2)),
            _in_layers(_activated(channels, channels, 3, groups=64)),
        ]
        for first, following in _stages(_bottleneck_in_layers, width):
            layers += [first, _in_layers(following)]
        self.layers = nn.Sequential(*layers)
        self.conv_sep = _in_layers(_activated(128 * width, _LAST_CHANNELS))
        self.features = _in_layers(
            [
                _in_layers(_over_places(7, 7)),
                nn.Flatten(),
                nn.Linear(_LAST_CHANNELS, embedding_size, bias=False),
                nn.BatchNorm1d(embedding_size),
            ]
        )
        start_by_fan_out(self)

    def forward(
        self, images: Float[Tensor, "batch 3 112 112"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised RGB crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings, not normalised to unit length.
        """
        embeddings: Tensor = self.features(self.conv_sep(self.layers(images)))
        return embeddings


class MobileFaceNetTreB1eN(EmbeddingNetwork):
    """MobileFaceNet of TreB1eN's InsightFace_Pytorch, for 112x112.

    Its embeddings have unit length.

    Args:
        embedding_size: Number of dimensions of an embedding.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Chen et al., MobileFaceNets, 2018, Table 1; TreB1eN/InsightFace_Pytorch,
        model.py.
    """

    template = "112x112"
    option_weights: ClassVar = {"embedding_size": ("linear.weight", 1)}

    def __init__(self, *, embedding_size: int = 512) -> None:
        super().__init__(embedding_size)
        self.conv1 = nn.Sequential(_activated(3, 64, 3, stride=2))
        self.conv2_dw = nn.Sequential(_activated(64, 64, 3, groups=64))
        third, fourth, fifth = _stages(_bottleneck_by_name)
        self.conv_23, self.conv_3 = third[0], _in_model(third[1])
        self.conv_34, self.conv_4 = fourth[0], _in_model(fourth[1])
        self.conv_45, self.conv_5 = fifth[0], _in_model(fifth[1])
        self.conv_6_sep = nn.Sequential(_activated(128, _LAST_CHANNELS))
        self.conv_6_dw = nn.Sequential(_over_places(7, 7))
        self.linear = nn.Linear(_LAST_CHANNELS, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(
        self, images: Float[Tensor, "batch 3 112 112"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings of unit length.
        """
        maps = self.conv2_dw(self.conv1(images))
        maps = self.conv_3(self.conv_23(maps))
        maps = self.conv_4(self.conv_34(maps))
        maps = self.conv_5(self.conv_45(maps))
        channels = self.conv_6_dw(self.conv_6_sep(maps)).flatten(1)
        return normalize(self.bn(self.linear(channels)))


class MobileFaceNetXiaoccer(EmbeddingNetwork):
    """MobileFaceNet of Xiaoccer's MobileFaceNet_Pytorch, for 112x96.

    Args:
        embedding_size: Number of dimensions of an embedding.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Chen et al., MobileFaceNets, 2018, Table 1; Xiaoccer/MobileFaceNet_Pytorch,
        core/model.py.
    """

    template = "112x96"
    option_weights: ClassVar = {"embedding_size": ("linear1.conv.weight", 1)}

    def __init__(self, *, embedding_size: int = 128) -> None:
        super().__init__(embedding_size)
        self.conv1 = nn.Sequential(_activated(3, 64, 3, stride=2))
        self.dw_conv1 = nn.Sequential(_activated(64, 64, 3, groups=64))
        stages = _stages(_bottleneck_in_conv)
        blocks = [each for first, following in stages for each in (first, *following)]
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = nn.Sequential(_activated(128, _LAST_CHANNELS))
        self.linear7 = nn.Sequential(_over_places(7, 6))
        self.linear1 = nn.Sequential(_normalised(_LAST_CHANNELS, embedding_size))
        start_by_fan_out(self)

    def forward(
        self, images: Float[Tensor, "batch 3 112 96"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings, not normalised to unit length.
        """
        maps = self.blocks(self.dw_conv1(self.conv1(images)))
        embeddings: Tensor = self.linear1(self.linear7(self.conv2(maps))).flatten(1)
        return embeddings


def _stages(
    bottleneck: _Bottleneck, width: int = 1
) -> list[tuple[nn.Module, list[nn.Module]]]:
    """The first bottleneck of each stage, and those that follow it."""
    stages = []
    inputs = 64 * width
    for channels, first, further, count in _STAGES:
        outputs = channels * width
        following = [
            bottleneck(Shortcut, outputs, further, outputs, 1) for _ in range(count)
        ]
        stages.append((bottleneck(nn.Sequential, inputs, first, outputs, 2), following))
        inputs = outputs
    return stages


def _bottleneck_in_layers(kind: type[nn.Sequential], *sizes: int) -> nn.Module:
    parts = [_in_layers(each) for each in _bottleneck(*sizes)]
    return kind(OrderedDict(layers=nn.Sequential(*parts)))


def _bottleneck_by_name(kind: type[nn.Sequential], *sizes: int) -> nn.Module:
    conv, conv_dw, project = map(nn.Sequential, _bottleneck(*sizes))
    return kind(OrderedDict(conv=conv, conv_dw=conv_dw, project=project))


def _bottleneck_in_conv(kind: type[nn.Sequential], *sizes: int) -> nn.Module:
    parts = [part for each in _bottleneck(*sizes) for part in each.values()]
    return kind(OrderedDict(conv=nn.Sequential(*parts)))


def _bottleneck(
    inputs: int, inner: int, outputs: int, stride: int
) -> tuple[_Parts, _Parts, _Parts]:
    return (
        _activated(inputs, inner),
        _activated(inner, inner, 3, stride=stride, groups=inner),
        _normalised(inner, outputs),
    )


def _in_layers(parts: _Parts | list[nn.Module]) -> nn.Module:
    layers = parts.values() if isinstance(parts, OrderedDict) else parts
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*layers)))


def _in_model(parts: list[nn.Module]) -> nn.Module:
    return nn.Sequential(OrderedDict(model=nn.Sequential(*parts)))


def _over_places(height: int, width: int) -> _Parts:
    """Depthwise, over all places that the stages leave of a crop."""
    return _normalised(
        _LAST_CHANNELS, _LAST_CHANNELS, (height, width), groups=_LAST_CHANNELS
    )


def _activated(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> _Parts:
    parts = _normalised(inputs, outputs, kernel, stride=stride, groups=groups)
    parts["prelu"] = nn.PReLU(outputs)
    return parts


def _normalised(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 1,
    *,
    stride: int = 1,
    groups: int = 1,
) -> _Parts:
    """A convolution, padded where it is 3x3, and its batch normalisation."""
    convolution = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        padding=1 if kernel == 3 else 0,
        groups=groups,
        bias=False,
    )
    return OrderedDict(conv=convolution, bn=nn.BatchNorm2d(outputs))
