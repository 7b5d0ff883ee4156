"""Residual networks for 28x28 and 32x32 images: ResNet-20, ResNet-18, ResNet-34."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from facever.models.base import EmbeddingNetwork


class PooledNetwork(EmbeddingNetwork):
    """Layers, the mean over places, and a linear layer where the size asks for one.

    A subclass calls ``_stack`` at the end of its ``__init__``.
    """

    def _stack(self, layers: list[nn.Module], width: int) -> None:
        """Take the layers, whose last gives ``width`` channels, and draw weights.

        Convolutions are drawn as He et al. 2015 do, by what leaves them.
        """
        self.layers = nn.Sequential(*layers)
        size = self.embedding_size
        self.linear = nn.Linear(width, size) if size != width else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch dim"]:
        """Features of images."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features if self.linear is None else self.linear(features)


Shortcut = Literal["padded", "projected"]


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        nn.BatchNorm2d(outputs),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.second = _convolution(outputs, outputs, 3, 1)
        self.stride = stride
        self.added_channels = outputs - inputs
        changes = stride > 1 or inputs != outputs
        self.projection = (
            _convolution(inputs, outputs, 1, stride)
            if changes and shortcut == "projected"
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        if self.projection is not None:
            passed = self.projection(maps)
        else:
            passed = maps[:, :, :: self.stride, :: self.stride]
            if self.added_channels:
                passed = pad(passed, (0, 0, 0, 0, 0, self.added_channels))
        return relu(self.second(relu(self.first(maps))) + passed)


class _ResNet(PooledNetwork):
    """A 3x3 convolution, stages of blocks that halve the size, the mean over places."""

    def __init__(
        self,
        stages: tuple[tuple[int, int], ...],
        shortcut: Shortcut,
        channels: int,
        embedding_size: int,
    ) -> None:
        super().__init__(embedding_size)
        width = stages[0][0]
        layers: list[nn.Module] = [_convolution(channels, width, 3, 1), nn.ReLU(True)]
        for number, (outputs, num_blocks) in enumerate(stages):
            for block in range(num_blocks):
                stride = 2 if number and not block else 1
                layers.append(_Block(width, outputs, stride, shortcut))
                width = outputs
        self._stack(layers, width)


class ResNet20(_ResNet):
    """ResNet-20: three stages of three blocks, 16, 32 and 64 channels.

    Shortcuts that change the size take every second place and pad the new channels with
    zeros ("option A"), so they have no parameters.

    Args:
        channels: Number of channels of the images.
        embedding_size: 64 takes the mean over places as it is; another number, such as
            2 for pictures, adds a linear layer.

    References:
        He et al., Deep residual learning, 2015, section 4.2.
    """

    def __init__(self, *, channels: int = 3, embedding_size: int = 64) -> None:
        stages = ((16, 3), (32, 3), (64, 3))
        super().__init__(stages, "padded", channels, embedding_size)


class ResNet18(_ResNet):
    """ResNet-18 for 32x32 images: ImageNet's stages behind a 3x3 convolution.

    Args:
        channels: Number of channels of the images.
        embedding_size: 512 takes the mean over places as it is; another number adds a
            linear layer.

    References:
        He et al., Deep residual learning, 2015, Table 1. angular-loss.md prints 11.22
        million parameters, which this network has with 100 classes (11.17 with 10).
    """

    def __init__(self, *, channels: int = 3, embedding_size: int = 512) -> None:
        stages = ((64, 2), (128, 2), (256, 2), (512, 2))
        super().__init__(stages, "projected", channels, embedding_size)


class ResNet34(_ResNet):
    """ResNet-34 for 32x32 images, built as ``ResNet18``.

    Args:
        channels: Number of channels of the images.
        embedding_size: 512 takes the mean over places as it is; another number adds a
            linear layer.

    References:
        He et al., Deep residual learning, 2015, Table 1. angular-loss.md prints 21.54
        million parameters and does not say of what; this network has 21.33 with 100
        classes.
    """

    def __init__(self, *, channels: int = 3, embedding_size: int = 512) -> None:
        stages = ((64, 3), (128, 4), (256, 6), (512, 3))
        super().__init__(stages, "projected", channels, embedding_size)
