"""Convolutional networks for small images: Caffe's two and the papers' Table 1."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.models.base import EmbeddingNetwork

PlanName = Literal["mnist-2d", "mnist", "cifar10", "cifar100"]


class LeNet(EmbeddingNetwork):
    """Caffe's LeNet for 28x28 grey images, up to the features before the classifier.

    Two 5x5 convolutions without padding, 20 and 50 channels, each with a 2x2 max pool,
    and a linear layer with ReLU. Weights start from Caffe's "xavier" filler, uniform in
    +-sqrt(3 / inputs), biases from 0.

    Args:
        embedding_size: Dimensions of the features; Caffe's ip1 has 500.
        linear: Leave out the ReLU, for heads that want features all around the origin.
            Behind it a class whose anchor is one axis is lost when that unit dies.

    References:
        Caffe, examples/mnist/lenet_train_test.prototxt; [L] of Wu et al. 2018, Table 2.
    """

    def __init__(self, *, embedding_size: int = 500, linear: bool = False) -> None:
        super().__init__(embedding_size)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * 4 * 50, embedding_size),
            nn.Identity() if linear else nn.ReLU(),
        )
        for module in self.layers:
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = math.sqrt(3 / module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "batch 1 28 28"]
    ) -> Float[Tensor, "batch dim"]:
        """Features of images."""
        features: Tensor = self.layers(images)
        return features


class Cifar10Quick(EmbeddingNetwork):
    """Caffe's CIFAR10-quick for 32x32 colour images, up to the classifier.

    Three 5x5 convolutions of 32, 32 and 64 channels, each with a 3x3 pool of stride 2
    (one max, two average) whose last window may overlap the border, and a linear layer
    without activation. Weights start from normal distributions of Caffe's deviations.

    Args:
        embedding_size: Dimensions of the features; Caffe's ip1 has 64.

    References:
        Caffe, examples/cifar10/cifar10_quick_train_test.prototxt; [L] of Wu et al.
        2018, Table 3.
    """

    def __init__(self, *, embedding_size: int = 64) -> None:
        super().__init__(embedding_size)
        # Caffe rounds the size of a pool's output up.
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.ReLU(),
            nn.Conv2d(32, 32, 5, padding=2),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, ceil_mode=True),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(4 * 4 * 64, embedding_size),
        )
        deviations = iter((1e-4, 0.01, 0.01, 0.1))
        for module in self.layers:
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=next(deviations))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "batch 3 32 32"]
    ) -> Float[Tensor, "batch dim"]:
        """Features of images."""
        features: Tensor = self.layers(images)
        return features


@dataclass(frozen=True)
class _Plan:
    """A column of Table 1: Conv0 is left out where ``stem`` is 0."""

    image: tuple[int, int]  # channels, side
    stem: int
    channels: tuple[int, int, int]
    num_layers: int
    kernel: int


_PLANS: dict[str, _Plan] = {
    "mnist-2d": _Plan((1, 28), 0, (32, 64, 128), 2, 5),
    "mnist": _Plan((1, 28), 64, (64, 64, 64), 3, 3),
    "cifar10": _Plan((3, 32), 64, (64, 96, 128), 4, 3),
    "cifar100": _Plan((3, 32), 96, (96, 192, 384), 4, 3),
}


class ConvNet(EmbeddingNetwork):
    """The networks of Table 1 of ie-loss.md, which anchor-ncm.md takes over.

    Conv0.x to Conv3.x, padded convolutions that keep the size, with a 2x2 max pool of
    stride 2 behind Conv1.x, Conv2.x and Conv3.x, and a linear layer. Every convolution
    has batch normalisation and an activation, and no bias. The papers do not say what
    follows the linear layer; here nothing does, so that 2-D features fill the plane.
    Weights start from He et al.'s normal distribution.

    Args:
        plan: The column of the table. ``mnist-2d`` is that of ie-loss.md's Fig. 2; the
            2-D network of anchor-ncm.md is ``mnist`` with an embedding_size of 2.
        embedding_size: 2, 256, 256 and 512 in the table.
        activation: ``prelu``, one slope a channel, as in ie-loss.md, or ``relu``, as in
            anchor-ncm.md.
        dropout: Share p of the activations dropped behind the first two pools.
        width: Factor on the number of filters of every convolution, rounded.
        ceil_pools: Round the size of a pool's output up, as Caffe does, not down, as
            PyTorch does: 28x28 images leave 4x4 places, not 3x3.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Wu et al., Exponential discriminative metric embedding, 2018, Table 1; Hao et
        al., Anchor-based nearest class mean loss, 2018, Table 1.
    """

    def __init__(
        self,
        *,
        plan: PlanName = "mnist",
        embedding_size: int = 256,
        activation: Literal["prelu", "relu"] = "relu",
        dropout: float = 0.0,
        width: float = 1.0,
        ceil_pools: bool = False,
    ) -> None:
        super().__init__(embedding_size)
        if not 0 <= dropout < 1:
            raise ParameterError(f"dropout must be in [0, 1), got {dropout}")
        drawn = _PLANS[plan]
        fewest = min(filter(None, (drawn.stem, *drawn.channels)))
        if not width * fewest >= 1:
            raise ParameterError(
                f"width must be at least 1/{fewest}, so that a filter is left, got "
                f"{width}"
            )
        inputs, side = drawn.image
        layers: list[nn.Module] = []

        def convolve(outputs: int) -> None:
            nonlocal inputs
            outputs = round(width * outputs)
            layers.extend(
                [
                    nn.Conv2d(
                        inputs,
                        outputs,
                        drawn.kernel,
                        padding=drawn.kernel // 2,
                        bias=False,
                    ),
                    nn.BatchNorm2d(outputs),
                    nn.PReLU(outputs) if activation == "prelu" else nn.ReLU(True),
                ]
            )
            inputs = outputs

        if drawn.stem:
            convolve(drawn.stem)
        for number, outputs in enumerate(drawn.channels):
            for _ in range(drawn.num_layers):
                convolve(outputs)
            layers.append(nn.MaxPool2d(2, ceil_mode=ceil_pools))
            side = (side + ceil_pools) // 2
            if dropout and number < 2:
                layers.append(nn.Dropout(dropout))
        layers += [nn.Flatten(), nn.Linear(side * side * inputs, embedding_size)]
        self.layers = nn.Sequential(*layers)
        for module in self.layers:
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch dim"]:
        """Features of images."""
        features: Tensor = self.layers(images)
        return features
