"""Networks that turn images into embeddings."""

from typing import Any

from facever.errors import ParameterError
from facever.models.base import EmbeddingNetwork
from facever.models.cifar_resnet import ResNet18, ResNet20, ResNet34
from facever.models.convnets import Cifar10Quick, ConvNet, LeNet
from facever.models.resnet27 import ResNet27
from facever.models.wide_resnet import WideResNet

NETWORKS: dict[str, type[EmbeddingNetwork]] = {"resnet27": ResNet27}

OBJECT_NETWORKS: dict[str, type[EmbeddingNetwork]] = {
    "cifar10_quick": Cifar10Quick,
    "convnet": ConvNet,
    "lenet": LeNet,
    "resnet18": ResNet18,
    "resnet20": ResNet20,
    "resnet34": ResNet34,
    "wide_resnet": WideResNet,
}
"""Networks for 28x28 and 32x32 images, of the papers' object experiments."""


def build_network(name: str, options: dict[str, Any]) -> EmbeddingNetwork:
    """A network by its name in ``NETWORKS``.

    Args:
        name: Such as ``resnet27``.
        options: Keyword arguments of the network's class.

    Returns:
        A module from float ``[B, 3, 112, 96]`` to ``[B, embedding_size]``.

    Raises:
        ParameterError: If the name or an option is unknown or out of range.
    """
    if name not in NETWORKS:
        raise ParameterError(
            f"unknown network {name!r}; known are {', '.join(sorted(NETWORKS))}"
        )
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise ParameterError(f"network {name}: {error}") from None
